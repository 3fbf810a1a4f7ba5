"""Kills at random moments: a thousand of a fast worker and its supervisor, fifty of a real tiny run. Nothing written becomes unreadable."""

from __future__ import annotations

import logging
import random
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.jobs.conftest import wait_for
from tests.jobs.fast_storm import PATIENCE_SECONDS, Storm, end_worker, freeze_in_commit, leftovers, wait
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.models.safety import read_safetensors_header
from tunesmith.store.experiments import Experiment, ExperimentStore
from tunesmith.store.files import LineTail
from tunesmith.store.run_folder import RunFolder
from tunesmith.store.saved_folders import verify_folder
from tunesmith.store.series import MetricSeries

logger = logging.getLogger(__name__)
SETTLED_SECONDS = 5.0  # after a kill a run is marked or goes on, on a machine that does nothing else
Submit = Callable[..., Experiment]


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[Path]:
    """A data folder that is not kept: storms write a lot."""
    yield tmp_path / "storm"
    shutil.rmtree(tmp_path / "storm", ignore_errors=True)


def rage(root: Path, kills: int, seed: int, restarts: int, settled_seconds: float) -> None:
    storm = Storm(root, seed, restarts)
    try:
        toll = storm.rage(kills)
    finally:
        storm.close()
    logger.info("%s", toll)
    assert toll.kills.total() == kills
    assert toll.in_commit > kills / 20, "too few kills hit a commit"
    assert (toll.went_on > 0) == (restarts > 0)
    assert max(toll.seconds) <= settled_seconds


@pytest.mark.parametrize("restarts", [0, 3])
def test_twenty_kills_of_worker_supervisor_and_both(roomy: Path, restarts: int) -> None:
    rage(roomy, 20, seed=100 + restarts, restarts=restarts, settled_seconds=PATIENCE_SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_kills_of_worker_supervisor_and_both(roomy: Path, seed: int) -> None:
    rage(roomy, 100, seed, restarts=3 * (seed % 2), settled_seconds=SETTLED_SECONDS)


def losses(folder: RunFolder) -> dict[float, float]:
    series = MetricSeries(folder.metrics)
    series.refresh()
    return dict(zip(*(column.tolist() for column in series.column("train_loss")), strict=True))


def assert_readable(folder: RunFolder) -> None:
    """Every complete folder matches its manifest, every line parses, each attempt's figures go on from the checkpoint before."""
    assert leftovers(folder) == []
    for saved in [*folder.path.glob("checkpoints/step-*"), *folder.path.glob("adapter")]:
        verify_folder(saved)
        assert read_safetensors_header(saved / "adapters.safetensors")
    for log in (folder.metrics, folder.events):
        tail = LineTail(log)
        list(tail.read_new())
        assert tail.bad_lines == 0
    steps = [step for step in losses(folder) if step]
    assert steps == list(range(1, len(steps) + 1))


def kill_again_and_again(store: ExperimentStore, supervisor: Supervisor, submit: Submit, kills: int, seed: int) -> None:
    """Kill a real run, half of the times while it writes a checkpoint, and resume it; its curve stays that of a run left alone."""
    chance, in_commit, slowest = random.Random(seed), 0, 0.0
    settings = {"iters": 100_000, "save_every": 2}
    run = submit(**settings)
    folder = store.folder(run.id)
    for _ in range(kills):
        wait_for(lambda: store.get(run.id).status == "running")
        attempt, saved = store.get(run.id).attempt, folder.newest_checkpoint_step() or 0
        wait_for(partial(has_saved_after, folder, saved))
        if chance.random() < 0.5:
            time.sleep(chance.uniform(0, 0.1))
        else:
            freeze_in_commit(store.get(run.id).pid, folder)
        end_worker(store.get(run.id).pid)
        in_commit += bool(leftovers(folder))
        began = time.monotonic()
        wait(lambda: store.get(run.id).status == "interrupted")
        slowest = max(slowest, time.monotonic() - began)
        assert store.get(run.id).attempt == attempt
        assert_readable(folder)
        folder.request("resume")
        supervisor.wake()
    wait_for(partial(has_saved_after, folder, folder.newest_checkpoint_step() or 0))
    stop(store, run)
    whole = submit(**settings)
    wait_for(lambda: len(losses(store.folder(whole.id))) >= len(losses(folder)), 240)
    stop(store, whole)
    killed, alone = losses(folder), losses(store.folder(whole.id))
    assert killed == {step: alone[step] for step in killed}
    logger.info("%d kills of a real run, %d in a commit, %d steps, marked after at most %.2f s", kills, in_commit, len(killed), slowest)
    assert in_commit > kills / 10


def has_saved_after(folder: RunFolder, step: int) -> bool:
    return (folder.newest_checkpoint_step() or 0) > step


def stop(store: ExperimentStore, run: Experiment) -> None:
    store.folder(run.id).request("cancel")
    wait_for(lambda: store.get(run.id).status == "cancelled")


def test_five_kills_of_a_real_run(store: ExperimentStore, supervisor: Supervisor, submit: Submit) -> None:
    kill_again_and_again(store, supervisor, submit, kills=5, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 7))
def test_fifty_kills_of_real_runs(store: ExperimentStore, supervisor: Supervisor, submit: Submit, seed: int) -> None:
    kill_again_and_again(store, supervisor, submit, kills=10, seed=seed)
