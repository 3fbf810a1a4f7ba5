"""A real run's record: its environment, the same run again, its package in another store, its adapter from elsewhere."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from starlette.requests import Request
from starlette.responses import FileResponse

from tests.adapters import write_adapter_files
from tests.jobs.conftest import done, wait_for
from tests.unit.data.test_training_logs import REAL_OUTPUT
from tunesmith.jobs.job import Job
from tunesmith.services import adapters, context, run_facts, run_imports, run_packages, runs, training
from tunesmith.services.context import Services
from tunesmith.services.home import demo_config
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL
from tunesmith.ui import routes

Finish = Callable[[str], Job]
FAST = {"iters": 3, "steps_per_report": 1, "steps_per_eval": 10, "batch_size": 2, "max_seq_length": 64, "val_batches": 1}


def wait_for_run(services: Services, run_id: str) -> runs.RunSnapshot:
    wait_for(lambda: not runs.snapshot(services, run_id).active, 120)
    state = runs.snapshot(services, run_id)
    assert state.status == "completed", state.error
    return state


def losses(services: Services, run_id: str) -> np.ndarray:
    return services.series(run_id).column("train_loss")[1]


@pytest.mark.slow
def test_a_run_again_unchanged_gives_the_same_figures(services: Services, finish: Finish, monkeypatch: pytest.MonkeyPatch) -> None:
    first = training.submit(services, dataclasses.replace(demo_config(), **FAST))  # type: ignore[arg-type]
    wait_for_run(services, first)
    (attempt,) = run_facts.environment_of(services, first)
    assert (attempt["attempt"], attempt["blas"] in {"openblas", "reference", "accelerate"}) == (1, True)
    assert len(attempt["data_hash"]) == 12
    assert run_facts.base_hash_of(services, first)
    assert run_facts.changes_since(services, first) == []
    again = run_facts.rerun(services, first)
    wait_for_run(services, again)
    assert len(losses(services, again)) == 3
    assert (losses(services, again) == losses(services, first)).all()
    made = done(finish(run_packages.start_pack(services, [first, again], checkpoints=True)))
    path = run_packages.packed_file(services, finish(Path(made["path"]).parent.name).id)
    monkeypatch.setattr(context, "open_services", lambda: services)
    request = {"type": "http", "path_params": {"job_id": path.parent.name}}
    answer = routes.package_file(Request(request))
    assert isinstance(answer, FileResponse)
    assert (answer.status_code, answer.path) == (200, path)
    assert routes.package_file(Request(request | {"path_params": {"job_id": "../../store"}})).status_code == 404
    found = run_packages.import_package(services, path)
    assert len(found) == 2
    back = next(run for run in found if run.former_id == first)
    assert (losses(services, back.id) == losses(services, first)).all()
    more = training.continue_run(services, back.id, 1)
    assert wait_for_run(services, more).step == 4, "a run goes on from the checkpoints of its package"


def test_a_log_gets_its_adapter_checked_against_the_base(services: Services, finish: Finish, tmp_path: Path) -> None:
    folder = write_adapter_files(tmp_path / "adapters")
    (run,), job_id = run_imports.import_file(services, REAL_OUTPUT, model="demo", adapter=folder)
    assert done(finish(job_id))["run"] == run.id
    info = adapters.find_adapter(services, run.id)
    assert (info.kind, info.rank, info.model_path) == ("lora", 4, DEMO_MODEL)
    assert info.base_hash
    foreign = write_adapter_files(tmp_path / "foreign", layers=(0, 9))
    (other,), job_id = run_imports.import_file(services, REAL_OUTPUT, model="demo", adapter=foreign)
    ended = finish(job_id)
    assert ended.error is not None
    assert ended.error.code.startswith("adapter_")
    assert not services.store.folder(other.id).has_adapter()


@pytest.mark.slow
def test_a_real_run_of_mlx_lm_comes_in_whole(services: Services, finish: Finish, tmp_path: Path) -> None:
    """mlx-lm's own command trains; its output and its adapter folder become a run whose adapter can be asked."""
    folder = tmp_path / "adapters"
    command = [
        sys.executable, "-m", "mlx_lm", "lora", "--train", "--model", str(DEMO_MODEL), "--data", str(DEMO_DATA / "company_facts"),
        "--iters", "6", "--batch-size", "2", "--num-layers", "2", "--steps-per-report", "2", "--steps-per-eval", "3",
        "--val-batches", "1", "--adapter-path", str(folder),
    ]  # fmt: skip
    told = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert told.returncode == 0, told.stderr[-2000:]
    log = tmp_path / "train.log"
    log.write_text(told.stdout, encoding="utf-8")
    (run,), job_id = run_imports.import_file(services, log, model="demo", adapter=folder)
    done(finish(job_id))
    state = runs.snapshot(services, run.id)
    assert (state.step, state.iters, state.config.batch_size, state.config.num_layers) == (6, 6, 2, 2)
    assert len(losses(services, run.id)) == 3
    assert list(services.series(run.id).column("val_loss")[0]) == [0, 2, 5]
    assert adapters.find_adapter(services, run.id).num_layers == 2
