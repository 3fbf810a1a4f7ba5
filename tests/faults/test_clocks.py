"""Clocks that are set back or ahead by a year: nothing is deleted early, nobody waits or is killed for it, the order of the queue stays."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.faults.state_paths import ended_run, queued_run, services_of
from tests.faults.whole_store import add_run, fill
from tunesmith.access.attempts import OF_ONE, Attempts
from tunesmith.jobs import supervisor as supervising
from tunesmith.jobs.job import PROGRESS, JobFolders
from tunesmith.jobs.job_worker import Reporter
from tunesmith.jobs.queue import waiting_line
from tunesmith.services import runs
from tunesmith.store.adapters import AdapterStore
from tunesmith.store.experiments import ExperimentStore
from tunesmith.store.files import read_json
from tunesmith.store.ids import new_id
from tunesmith.store.locks import ProcessLock
from tunesmith.store.trash import purge_older, throw_away, thrown
from tunesmith.system import activity

YEAR, DAY = 365 * 86_400.0, 86_400.0


class Clocks:
    """The wall clock as people set it, and the one that nobody sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._wall, self._steady = time.time, time.monotonic
        self.ahead = self.passed = 0.0
        monkeypatch.setattr(time, "time", lambda: self._wall() + self.ahead + self.passed)
        monkeypatch.setattr(time, "monotonic", lambda: self._steady() + self.passed)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


@pytest.fixture
def trash(tmp_path: Path) -> Path:
    folder = tmp_path / ".trash"
    folder.mkdir()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        throw_away(tmp_path / name, folder)
    return folder


def names(trash: Path) -> list[str]:
    return sorted(path.name for path in thrown(trash))


@pytest.mark.parametrize("jump", [YEAR, 8 * DAY, -YEAR])
def test_no_jump_of_the_clock_deletes_anything(trash: Path, clocks: Clocks, jump: float) -> None:
    clocks.ahead = jump
    purge_older(trash, 7)
    assert names(trash) == ["one", "two"]
    clocks.ahead = 0.0
    purge_older(trash, 7)
    assert names(trash) == ["one", "two"]
    clocks.ahead = jump
    purge_older(trash, 7)
    assert names(trash) == ["one", "two"], "a notice of the first jump must not count in the second"


def test_what_is_old_goes_at_the_second_look_a_day_later(trash: Path, clocks: Clocks) -> None:
    clocks.passed = 6.9 * DAY
    purge_older(trash, 7)
    clocks.passed = 7.1 * DAY
    purge_older(trash, 7)
    clocks.passed = 8.0 * DAY
    purge_older(trash, 7)
    assert names(trash) == ["one", "two"]
    clocks.passed = 8.2 * DAY
    os.utime(trash / "two", (time.time(), time.time()))  # thrown away again meanwhile
    purge_older(trash, 7)
    assert names(trash) == ["two"]


def test_damaged_notices_delete_nothing(trash: Path, clocks: Clocks) -> None:
    clocks.passed = 30 * DAY
    for damage in (b"", b"[]", b'{"one": "long ago", "two": null}', b"\0" * 50):
        (trash / ".overdue.json").write_bytes(damage)
        purge_older(trash, 7)
        assert names(trash) == ["one", "two"]


def test_every_trash_waits_a_day(data_dir: Path, clocks: Clocks) -> None:
    fill(data_dir)
    clocks.ahead = YEAR
    with services_of(data_dir) as services:
        services.store.purge_trash()
        AdapterStore(data_dir).purge_trash()
        assert services.store.trashed_count() == 1
        assert names(data_dir / "adapters" / ".trash") == ["thrown-adapter"]


def test_the_queue_keeps_its_order(data_dir: Path, clocks: Clocks) -> None:
    store = ExperimentStore(data_dir)
    expected = []
    for ahead in (0.0, -YEAR, -2 * YEAR, YEAR, 0.0, -YEAR):
        clocks.ahead = ahead
        expected.append(add_run(store, f"came at {ahead}").id)
        line = waiting_line(ExperimentStore(data_dir).all()[0], store.queue_place)
        assert [run.id for run in line] == expected
    assert len(set(expected)) == len(expected)
    assert len({new_id() for _ in range(100)}) == 100


def test_the_index_sees_changes_that_are_dated_in_the_past(data_dir: Path) -> None:
    fill(data_dir)
    with services_of(data_dir) as services:
        run = ended_run(services)
        services.store.listing()
        for name, years in (("set back", -1), ("set ahead", 1), ("and again", -1)):
            services.store.rename(run.path.name, name)
            dated = time.time() + years * YEAR
            os.utime(run.labels, (dated, dated))
            assert services.store.find(run.path.name).name == name
            assert ExperimentStore(data_dir).find(run.path.name).name == name


def test_a_jump_presses_no_run_that_was_just_asked_to_stop(data_dir: Path, clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[signal.Signals] = []
    monkeypatch.setattr(supervising, "signal_worker", lambda *told: sent.append(told[2]))
    fill(data_dir)
    with services_of(data_dir) as services:
        run_id = queued_run(services)
        run = services.store.transition(services.store.get(run_id), "starting", nonce="n", pid=1)
        services.store.transition(run, "running")
        worker = ProcessLock(services.store.run_lock(run_id))
        assert worker.acquire()
        services.store.folder(run_id).request("cancel")
        for ahead in (0.0, YEAR, -YEAR):
            clocks.ahead = ahead
            services.supervisor.tick()
            assert (services.store.get(run_id).status, sent) == ("stopping", [])
        clocks.passed = supervising.TERMINATE_AFTER_SECONDS + 1
        services.supervisor.tick()
        assert sent == [signal.SIGTERM], "a clock that was set back must not keep a hanging run"
        clocks.passed = supervising.KILL_AFTER_SECONDS + 1
        services.supervisor.tick()
        assert sent == [signal.SIGTERM, signal.SIGKILL]
        worker.release()


def test_a_sign_of_life_counts_again_after_a_jump(data_dir: Path, clocks: Clocks) -> None:
    fill(data_dir)
    with services_of(data_dir) as services:
        folder = services.store.folder(queued_run(services))
        folder.beat()
        clocks.ahead = -YEAR
        assert folder.heartbeat_age_seconds() == 0.0
        clocks.ahead = YEAR
        os.utime(folder.path / "heartbeat", (time.time(), time.time()))  # the next beat, a second later, is dated by the new clock
        assert (folder.heartbeat_age_seconds() or 0.0) < 5


def test_a_running_run_s_time_is_not_the_wall_s(data_dir: Path, clocks: Clocks) -> None:
    fill(data_dir)
    with services_of(data_dir) as services:
        run_id = queued_run(services)
        run = services.store.transition(services.store.get(run_id), "starting", attempt=2, started_at=time.time())
        services.store.transition(run, "running")
        assert runs.snapshot(services, run_id).elapsed_seconds is None
        lines = (b'{"attempt":1,"step":1,"elapsed_seconds":100.0}\n', b'{"attempt":2,"step":1,"resumed":true}\n')
        services.store.folder(run_id).metrics.write_bytes(lines[0])
        clocks.passed = 3600.0
        assert runs.snapshot(services, run_id).elapsed_seconds == 100.0, "the time between two attempts is no work"
        services.store.folder(run_id).metrics.write_bytes(b"".join(lines))
        services.series(run_id)
        for ahead in (YEAR, -YEAR):
            clocks.ahead, clocks.passed = ahead, clocks.passed + 10
            assert runs.snapshot(services, run_id).elapsed_seconds == pytest.approx(90 + clocks.passed - 3590, abs=5)
        assert runs.snapshot(services, run_id).responding


def test_the_time_that_the_server_stands_is_not_the_wall_s(clocks: Clocks) -> None:
    before = activity.up_seconds()
    clocks.ahead, clocks.passed = -YEAR, 10.0
    assert before + 10 <= activity.up_seconds() < before + 40


def test_a_jobs_time_is_not_the_walls(data_dir: Path, clocks: Clocks) -> None:
    jobs = JobFolders(data_dir / "jobs")
    folder = jobs.folder(jobs.create({"kind": "fuse"}))
    report = Reporter(folder)
    report("fusing", 0.0)
    clocks.ahead, clocks.passed = -YEAR, 10.0
    report("fusing", 0.5)
    assert 10.0 <= read_json(folder / PROGRESS)["seconds"] < 15.0


def test_wrong_codes_are_forgotten_by_the_steady_clock(clocks: Clocks) -> None:
    attempts = Attempts(lambda: time.monotonic())
    for _ in range(OF_ONE):
        attempts.note_failure("10.0.0.1")
    clocks.ahead = YEAR
    assert attempts.seconds_to_wait("10.0.0.1") > 50
    clocks.passed = 61.0
    assert attempts.seconds_to_wait("10.0.0.1") == 0.0
