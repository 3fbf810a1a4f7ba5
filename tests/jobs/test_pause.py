"""Pause, resume and continue through the supervisor, with real workers; the dry run that measures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.jobs.conftest import wait_for
from tunesmith.errors import UserError
from tunesmith.inference.client import HostClient
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.services import plan, runs, training
from tunesmith.services.context import Kept, Services
from tunesmith.settings.schema import AppSettings
from tunesmith.store.experiments import TERMINAL, Experiment, ExperimentStore
from tunesmith.store.files import LineTail
from tunesmith.store.saved_folders import verify_folder
from tunesmith.store.series import MetricSeries
from tunesmith.training.config import LoraParameters, TrainConfig

Submit = Callable[..., Experiment]


@pytest.fixture
def services(store: ExperimentStore, supervisor: Supervisor, data_dir: Path) -> Iterator[Services]:
    services = Services(Kept(AppSettings()), data_dir, store, supervisor, HostClient(data_dir / "host.log"))
    yield services
    services.host.close()


def status(store: ExperimentStore, run: str) -> str:
    return store.get(run).status


def losses(store: ExperimentStore, run: str) -> list[tuple[float, float]]:
    series = MetricSeries(store.folder(run).metrics)
    series.refresh()
    steps, values = series.column("train_loss")
    return list(zip(steps.tolist(), values.tolist(), strict=True))


def test_a_paused_run_frees_the_accelerator_and_goes_on_as_if_nothing_had_been(
    services: Services, store: ExperimentStore, submit: Submit
) -> None:
    whole, parts, other = submit(iters=60), submit(iters=60), submit(iters=2)
    wait_for(lambda: len(losses(store, parts.id)) > 5)
    runs.pause(services, parts.id)
    wait_for(lambda: status(store, parts.id) == "paused")
    assert runs.snapshot(services, parts.id).resumable
    assert store.folder(parts.id).has_adapter()
    wait_for(lambda: status(store, other.id) == "completed")
    runs.resume(services, parts.id)
    assert runs.snapshot(services, parts.id).active  # at once, whoever looks goes on looking
    wait_for(lambda: status(store, parts.id) == "completed")
    assert losses(store, parts.id) == losses(store, whole.id)
    assert not store.folder(parts.id).has_request("pause")


def test_a_killed_run_is_resumed_from_its_checkpoint(services: Services, store: ExperimentStore, submit: Submit) -> None:
    whole, run = submit(iters=40), submit(iters=40)
    wait_for(lambda: store.folder(run.id).newest_checkpoint_step() is not None and len(losses(store, run.id)) > 6)
    os.killpg(store.get(run.id).pid, signal.SIGKILL)
    wait_for(lambda: status(store, run.id) == "interrupted")
    runs.resume(services, run.id)
    wait_for(lambda: status(store, run.id) == "completed")
    assert losses(store, run.id) == losses(store, whole.id)


def test_a_shutdown_pauses_a_run(services: Services, store: ExperimentStore, submit: Submit) -> None:
    run = submit(iters=100_000)
    wait_for(lambda: len(losses(store, run.id)) > 2)
    os.kill(store.get(run.id).pid, signal.SIGTERM)
    wait_for(lambda: status(store, run.id) == "paused")
    assert runs.snapshot(services, run.id).resumable


def test_a_paused_run_can_be_thrown_away_and_a_running_one_not_resumed(services: Services, store: ExperimentStore, submit: Submit) -> None:
    run = submit(iters=100_000)
    wait_for(lambda: len(losses(store, run.id)) > 2)
    with pytest.raises(UserError, match="run_not_resumable"):
        runs.resume(services, run.id)
    runs.pause(services, run.id)
    wait_for(lambda: status(store, run.id) == "paused")
    store.trash(run.id)
    assert run.id not in {e.id for e in store.all()[0]}


def test_continue_for_more_steps_begins_with_the_old_curve(services: Services, store: ExperimentStore) -> None:
    config = TrainConfig(
        model="demo",
        data="company_facts",
        iters=6,
        batch_size=4,
        steps_per_report=1,
        val_batches=0,
        lr_schedule="constant",
        max_seq_length=64,
    )
    first = training.submit(services, config)
    wait_for(lambda: status(store, first) in TERMINAL)
    longer = training.continue_run(services, first, 4)
    wait_for(lambda: status(store, longer) in TERMINAL)
    assert status(store, longer) == "completed", store.folder(longer).read_log_tail(30)
    curve = losses(store, longer)
    assert [step for step, _ in curve] == list(range(1, 11))
    assert curve[:6] == losses(store, first)
    state = runs.snapshot(services, longer)
    assert (state.step, state.iters, state.continued_from) == (10, 10, first)


def test_a_failed_run_leaves_the_next_one_alone(services: Services, store: ExperimentStore, submit: Submit, tmp_path: Path) -> None:
    broken, good = submit(model=tmp_path / "gone"), submit(iters=2)
    wait_for(lambda: status(store, good.id) in TERMINAL)
    assert (status(store, broken.id), status(store, good.id)) == ("failed", "completed")


def test_three_measured_steps_leave_nothing_behind(services: Services, store: ExperimentStore) -> None:
    config = TrainConfig(model="demo", data="company_facts", batch_size=4)
    measured = plan.measure_run(services, config)
    assert measured.peak_bytes > 5_000_000
    assert measured.tokens_per_second > 0
    assert store.all()[0] == []
    found = training.preview(services, config, measured)
    assert found.memory is not None
    assert found.memory.measured
    assert found.seconds_estimate == pytest.approx((found.tokens or 0) / measured.tokens_per_second)


def test_measuring_waits_for_nobody(services: Services, store: ExperimentStore, submit: Submit) -> None:
    run = submit(iters=100_000)
    wait_for(lambda: status(store, run.id) == "running")
    with pytest.raises(UserError, match="accelerator_busy"):
        plan.measure_run(services, TrainConfig(model="demo", data="company_facts"))
    runs.stop(services, run.id)
    wait_for(lambda: status(store, run.id) == "cancelled")


def test_what_goes_wrong_in_a_measurement_is_named(services: Services) -> None:
    with pytest.raises(UserError) as caught:
        plan.measure_run(services, TrainConfig(model="demo", data="company_facts", max_seq_length=8))
    assert caught.value.code == "data_nothing_to_learn"


@pytest.mark.slow
def test_events_tell_the_resume(services: Services, store: ExperimentStore, submit: Submit) -> None:
    run = submit(iters=30)
    wait_for(lambda: len(losses(store, run.id)) > 3)
    runs.pause(services, run.id)
    wait_for(lambda: status(store, run.id) == "paused")
    runs.resume(services, run.id)
    wait_for(lambda: status(store, run.id) == "completed")
    kinds = [e["kind"] for e in LineTail(store.folder(run.id).events).read_new()]
    assert kinds.count("run_started") == 1
    assert kinds.count("resumed") == 1


def test_a_full_disk_at_a_checkpoint_leaves_the_last_good_one(services: Services, store: ExperimentStore, submit: Submit) -> None:
    """The worker itself, under a limit on the size of files that a checkpoint of rank 64 does not fit in."""
    run = submit(iters=100_000, lora_parameters=LoraParameters(rank=64))
    wait_for(lambda: store.folder(run.id).newest_checkpoint_step() is not None)
    runs.pause(services, run.id)
    wait_for(lambda: status(store, run.id) == "paused")
    folder = store.folder(run.id)
    step = folder.newest_checkpoint_step()
    folder.forget_requests("pause")
    command = f"ulimit -f 1000; exec {sys.executable} -m tunesmith.jobs.worker {folder.path} --nonce limited"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=120, check=False)
    assert done.returncode == 1
    outcome = folder.read_outcome("limited")
    assert outcome is not None
    assert (outcome["status"], outcome["error"]["code"]) == ("failed", "disk_full")
    assert folder.newest_checkpoint_step() == step
    verify_folder(folder.path / "checkpoints" / f"step-{step}")
    verify_folder(folder.adapter)
