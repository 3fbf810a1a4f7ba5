"""A store whose runs are real: the shipped model, real rows, real worker processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tunesmith.jobs.job import Job
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.services import context, jobs
from tunesmith.services.context import Services
from tunesmith.settings.files import to_yaml
from tunesmith.store.experiments import Experiment, ExperimentStore
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.training.config import LoraParameters, TrainConfig


@pytest.fixture
def store(data_dir: Path) -> ExperimentStore:
    return ExperimentStore(data_dir)


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    folder = tmp_path / "rows"
    folder.mkdir()
    rows = [
        {"messages": [{"role": "user", "content": f"What is the code of box {n}?"}, {"role": "assistant", "content": f"It is {n * 7}."}]}
        for n in range(8)
    ]
    for split, chosen in (("train", rows), ("valid", rows[:2])):
        (folder / f"{split}.jsonl").write_bytes(b"\n".join(orjson.dumps(r) for r in chosen))
    return folder


@pytest.fixture
def submit(store: ExperimentStore, data_path: Path) -> Callable[..., Experiment]:
    """Queue a real tiny run."""

    def queue_run(iters: int = 4, model: Path = DEMO_MODEL, **changes: object) -> Experiment:
        settings: dict[str, Any] = {
            "model": "demo", "data": "rows", "iters": iters, "batch_size": 2, "steps_per_report": 1, "steps_per_eval": 100, "save_every": 5,
            "max_seq_length": 64, "lora_parameters": LoraParameters(rank=2),
        }  # fmt: skip
        config = TrainConfig(**(settings | changes))
        return store.create(
            to_yaml(config), name="tiny", kind="train", method="sft", model="demo", data="rows",
            model_path=str(model), data_path=str(data_path),
        )  # fmt: skip

    return queue_run


@pytest.fixture
def supervisor(store: ExperimentStore) -> Iterator[Supervisor]:
    """A supervisor in charge; its thread runs."""
    supervisor = Supervisor(store)
    supervisor.start()
    yield supervisor
    supervisor.close()


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def services(data_dir: Path) -> Iterator[Services]:
    opened = context.build_services()
    yield opened
    opened.close()


@pytest.fixture
def finish(services: Services) -> Callable[[str], Job]:
    def wait(job_id: str) -> Job:
        wait_for(lambda: jobs.find_job(services, job_id).ended, 120)
        return jobs.find_job(services, job_id)

    return wait


def done(job: Job) -> dict[str, Any]:
    assert job.status == "completed", (job.status, job.error)
    return job.result
