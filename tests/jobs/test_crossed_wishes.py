"""Wishes that cross each other or come late: the last word counts, and nothing is started, thrown away or woken up behind a person."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.jobs.fast_storm import end_worker, wait
from tests.jobs.supervisor_process import create_fast_run, fast_command, workers_of
from tunesmith.errors import UserError
from tunesmith.inference.client import HostClient
from tunesmith.jobs import supervisor as supervision
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.services import runs
from tunesmith.services.context import Kept, Services
from tunesmith.settings.schema import AppSettings
from tunesmith.store.experiments import Experiment, ExperimentStore
from tunesmith.store.locks import is_held

ENDLESS = 1_000_000


@pytest.fixture
def services(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """Services whose supervisor looks when it is told to, and starts fast workers."""
    monkeypatch.setattr(runs, "read_config", lambda *_: runs.TrainConfig())  # a fast run has no settings of that kind
    store = ExperimentStore(data_dir)
    supervisor = Supervisor(store, command=fast_command)
    supervisor._lock.acquire()
    yield Services(Kept(AppSettings()), data_dir, store, supervisor, HostClient(data_dir / "host.log"))
    for pid in workers_of(data_dir):
        end_worker(pid)
    supervisor.tick()
    assert supervisor._children == {}
    supervisor.close()


def started(s: Services) -> Experiment:
    """Return a run that works and has saved something."""
    run = create_fast_run(s.store, ENDLESS)
    s.supervisor.tick()
    wait(lambda: s.store.folder(run.id).newest_checkpoint_step() is not None)
    s.supervisor.tick()
    return s.store.get(run.id)


def ended(s: Services, wish: Callable[[Services, str], None]) -> Experiment:
    run = started(s)
    wish(s, run.id)
    wait(lambda: not is_held(s.store.run_lock(run.id)))
    s.supervisor.tick()
    return s.store.get(run.id)


def starts(s: Services, run: Experiment) -> int:
    return [entry["status"] for entry in s.store.get(run.id).history].count("starting")


def test_a_stop_after_a_resume_counts_before_anybody_has_looked(services: Services) -> None:
    run = ended(services, runs.stop)
    assert run.status == "cancelled"
    runs.resume(services, run.id)
    assert runs.snapshot(services, run.id).status == "queued"
    runs.stop(services, run.id)
    for _ in range(3):
        services.supervisor.tick()
    assert services.store.get(run.id).status == "cancelled"
    assert starts(services, run) == 1, "a run that was stopped while it waited was started"


def test_the_stop_of_before_ends_no_run_that_goes_on(services: Services) -> None:
    run = ended(services, runs.stop)
    runs.resume(services, run.id)
    services.supervisor.tick()
    saved = services.store.folder(run.id).newest_checkpoint_step() or 0
    wait(lambda: (services.store.folder(run.id).newest_checkpoint_step() or 0) > saved)
    services.supervisor.tick()
    assert services.store.get(run.id).status == "running"


def test_a_stop_while_the_supervisor_is_about_to_start_the_run(services: Services) -> None:
    run = create_fast_run(services.store, ENDLESS)

    def stop_now() -> bool:
        services.store.folder(run.id).request("cancel")
        return True

    services.supervisor._may_start = stop_now
    services.supervisor.tick()
    services.supervisor.tick()
    assert services.store.get(run.id).status == "cancelled"
    assert starts(services, run) == 0


def test_a_stop_that_comes_after_a_pause_was_heard_counts(services: Services) -> None:
    run = started(services)
    runs.pause(services, run.id)
    wait(lambda: not is_held(services.store.run_lock(run.id)))
    runs.stop(services, run.id)
    services.supervisor.tick()
    assert (services.store.get(run.id).status, services.store.get(run.id).error) == ("cancelled", None)
    assert services.store.folder(run.id).has_adapter()


def test_a_second_resume_that_comes_late_wakes_no_run_that_is_paused_later(services: Services) -> None:
    run = ended(services, runs.pause)
    runs.resume(services, run.id)
    services.supervisor.tick()
    assert services.store.get(run.id).status == "starting"
    services.store.folder(run.id).request("resume")  # from another tab, which was checked before the first one was heard
    wait(lambda: services.store.folder(run.id).heartbeat_age_seconds() is not None)
    runs.pause(services, run.id)
    wait(lambda: not is_held(services.store.run_lock(run.id)))
    for _ in range(3):
        services.supervisor.tick()
    assert services.store.get(run.id).status == "paused"


def test_a_run_that_is_to_go_on_cannot_be_thrown_away(services: Services) -> None:
    run = ended(services, runs.pause)
    runs.resume(services, run.id)
    with pytest.raises(UserError, match="run_still_active"):
        services.store.trash(run.id)
    runs.stop(services, run.id)
    for _ in range(2):
        services.supervisor.tick()
    services.store.trash(run.id)
    assert services.store.trashed_count() == 1


def test_a_run_whose_record_is_damaged_is_not_thrown_away_under_its_worker(services: Services) -> None:
    run = started(services)
    folder = services.store.folder(run.id)
    folder.record.write_bytes(b"{")
    with pytest.raises(UserError, match="run_still_active"):
        services.store.trash(run.id)
    end_worker(run.pid)
    services.store.trash(run.id)
    assert not folder.path.exists()


def test_what_a_killed_worker_was_writing_is_deleted_with_its_end(services: Services) -> None:
    run = started(services)
    folder = services.store.folder(run.id)
    half = [folder.path / f".outcome.json.{run.pid}.0123abcd.tmp", folder.path / "checkpoints" / f".step-9.{run.pid}.new"]
    half[0].write_bytes(b"{")
    half[1].mkdir()
    end_worker(run.pid)
    services.supervisor.tick()
    assert services.store.get(run.id).status == "interrupted"
    assert [path for path in half if path.exists()] == []
    assert services.supervisor._asked_at == {}


def test_one_run_that_cannot_be_looked_after_stands_in_no_other_s_way() -> None:
    seen: list[str] = []

    def look(run: Experiment) -> None:
        seen.append(run.id)
        if run.id == "first":
            raise ZeroDivisionError

    runs_of_all = [Experiment(name, "", "train", "sft", "", "", "", "", "", 1.0) for name in ("first", "second")]
    assert [type(trouble) for trouble in supervision._each(runs_of_all, look)] == [ZeroDivisionError]
    assert seen == ["first", "second"]


def test_a_trouble_that_lasts_is_told_once(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    monkeypatch.setattr(supervision, "TROUBLED_SECONDS", 0.005)
    looks: list[int] = []

    class Troubled(Supervisor):
        def tick(self) -> None:
            looks.append(1)
            raise OSError("the disk is gone" if len(looks) < 5 else "and now something else")

    supervisor = Troubled(ExperimentStore(data_dir))
    with caplog.at_level(logging.ERROR):
        supervisor.start()
        wait(lambda: len(looks) > 10)
        supervisor.close()
    assert len(caplog.records) == 2
