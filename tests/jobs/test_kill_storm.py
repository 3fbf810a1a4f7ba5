"""Random kills of a real tiny run: nothing that was written becomes unreadable."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from tests.jobs.conftest import wait_for
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.models.safety import read_safetensors_header
from tunesmith.store.experiments import TERMINAL, Experiment, ExperimentStore
from tunesmith.store.files import LineTail, read_json, sha256_of

Submit = Callable[..., Experiment]


def assert_readable(store: ExperimentStore, run: Experiment) -> None:
    """Every record parses, every complete folder matches its manifest, at most the last line of a log is torn."""
    folder = store.folder(run.id)
    assert store.get(run.id).status in TERMINAL
    for log in (folder.metrics, folder.events):
        tail = LineTail(log)
        steps = [r.get("step", 0) for r in tail.read_new()]
        assert tail.bad_lines == 0
        assert steps == sorted(steps)
    for saved in [*folder.path.glob("checkpoints/step-*"), *folder.path.glob("adapter")]:
        for name, facts in read_json(saved / "MANIFEST.json")["files"].items():
            assert sha256_of(saved / name) == facts["sha256"]
        assert read_safetensors_header(saved / "adapters.safetensors")


def storm(store: ExperimentStore, supervisor: Supervisor, submit: Submit, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(kills):
        run = submit(iters=100_000)
        supervisor.wake()
        folder = store.folder(run.id)
        wait_for(lambda run=run: store.get(run.id).pid > 0)  # type: ignore[misc]
        if chance.random() < 0.8:
            wait_for(lambda folder=folder: folder.metrics.exists() and folder.metrics.stat().st_size > 0)  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.8))
        os.killpg(store.get(run.id).pid, signal.SIGKILL)
        wait_for(lambda run=run: store.get(run.id).status == "interrupted", 5)  # type: ignore[misc]
        assert_readable(store, run)


def test_five_random_kills(store: ExperimentStore, supervisor: Supervisor, submit: Submit) -> None:
    storm(store, supervisor, submit, kills=5, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_random_kills(store: ExperimentStore, supervisor: Supervisor, submit: Submit) -> None:
    storm(store, supervisor, submit, kills=100, seed=2)
