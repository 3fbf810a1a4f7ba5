"""Runs whose worker died go on by themselves: so often as the settings say, and only while they get further."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.fast_storm import end_worker, wait
from tests.jobs.fast_worker import curve
from tests.jobs.supervisor_process import create_fast_run, fast_command, workers_of
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.store.experiments import Experiment, ExperimentStore
from tunesmith.store.series import MetricSeries


class Watched:
    """A store, and a supervisor that looks when it is told to."""

    def __init__(self, root: Path) -> None:
        self.store = ExperimentStore(root)
        self.restarts = 3
        self.supervisor = Supervisor(self.store, restarts=lambda: self.restarts, command=fast_command)

    def run(self, iters: int = 1_000_000) -> Experiment:
        run = create_fast_run(self.store, iters)
        self.supervisor.tick()
        return run

    def now(self, run: Experiment) -> Experiment:
        return self.store.get(run.id)

    def kill(self, run: Experiment, further: bool = True) -> Experiment:
        """Kill the worker, by default after it has saved something newer; return the record after the supervisor's look."""
        folder = self.store.folder(run.id)
        saved = folder.newest_checkpoint_step() or 0
        wait(lambda: not further or (folder.newest_checkpoint_step() or 0) > saved)
        end_worker(self.now(run).pid)
        self.supervisor.tick()
        return self.now(run)


@pytest.fixture
def watched(data_dir: Path) -> Iterator[Watched]:
    watched = Watched(data_dir)
    yield watched
    for pid in workers_of(data_dir):
        end_worker(pid)
    watched.restarts = 0
    watched.supervisor.tick()


def test_a_killed_run_goes_on_by_itself_three_times(watched: Watched) -> None:
    run = watched.run()
    for times in (1, 2, 3):
        now = watched.kill(run)
        assert now.status == "starting"
        assert [entry["status"] for entry in now.history[-2:]] == ["queued", "starting"]
        assert (now.attempt, len(now.restarts)) == (times + 1, times)
    assert sorted(set(now.restarts)) == now.restarts
    now = watched.kill(run)
    assert (now.status, (now.error or {})["code"]) == ("interrupted", "worker_died")


def test_its_curve_is_that_of_a_run_left_alone(watched: Watched) -> None:
    run = watched.run(iters=80)
    assert watched.kill(run).status == "starting"
    wait(lambda: watched.supervisor.tick() or watched.now(run).status == "completed", 20)  # type: ignore[func-returns-value]
    series = MetricSeries(watched.store.folder(run.id).metrics)
    series.refresh()
    assert series.column("train_loss")[1].tolist() == curve(80)


def test_a_run_that_dies_at_the_same_place_again_stays_where_it_is(watched: Watched) -> None:
    run = watched.run()
    assert watched.kill(run).status == "starting"
    assert watched.kill(run, further=False).status == "interrupted"


def test_a_run_without_a_checkpoint_is_not_begun_again(watched: Watched) -> None:
    assert watched.kill(watched.run(), further=False).status == "interrupted"


@pytest.mark.parametrize(("wish", "status"), [("cancel", "cancelled"), ("pause", "interrupted")])
def test_a_run_that_somebody_wants_to_end_does_not_go_on(watched: Watched, wish: str, status: str) -> None:
    run = watched.run()
    folder = watched.store.folder(run.id)
    wait(lambda: folder.newest_checkpoint_step() is not None)
    end_worker(watched.now(run).pid)
    folder.request(wish)
    watched.supervisor.tick()
    assert watched.now(run).status == status


def test_an_error_of_its_own_is_never_tried_again(watched: Watched) -> None:
    run = watched.run()
    folder = watched.store.folder(run.id)
    wait(lambda: folder.newest_checkpoint_step() is not None)
    now = watched.now(run)
    end_worker(now.pid)
    folder.write_outcome({"nonce": now.nonce, "status": "failed", "error": {"code": "loss_not_finite", "facts": {}}})
    watched.supervisor.tick()
    assert watched.now(run).status == "failed"


def test_none_goes_on_where_the_settings_say_so_and_a_person_begins_the_count_anew(watched: Watched) -> None:
    run = watched.run()
    assert watched.kill(run).restarts
    watched.restarts = 0
    assert watched.kill(run).status == "interrupted"
    watched.store.folder(run.id).request("resume")
    watched.supervisor.tick()
    assert (watched.now(run).status, watched.now(run).restarts) == ("starting", [])
