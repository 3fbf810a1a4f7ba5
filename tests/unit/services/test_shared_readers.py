"""Readers of curves are shared by all who look at a run, and only so many are kept."""

from __future__ import annotations

import pytest

from tests.ended_runs import add_ended_run
from tunesmith.services import context
from tunesmith.services.context import Services


def test_a_reader_is_shared_and_the_longest_unused_goes(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "KEPT_READERS", 3)
    ids = [add_ended_run(services, f"run {number}").id for number in range(4)]
    first, second = (services.series(run_id) for run_id in ids[:2])
    services.series(ids[2])
    assert services.series(ids[0]) is first
    services.series(ids[3])
    assert list(services._series) == [ids[2], ids[0], ids[3]]
    assert services.series(ids[1]) is not second
    assert services.series(ids[1]).latest == second.latest
    assert services.rollouts(ids[0]) is services.rollouts(ids[0])
