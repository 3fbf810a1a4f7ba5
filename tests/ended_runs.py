"""Ended runs with known figures, for tests: in the store, without training and without mlx."""

from __future__ import annotations

from typing import Any

import orjson

from tests.adapters import write_adapter_files
from tunesmith.jobs.summary import summarise
from tunesmith.services.context import Services
from tunesmith.settings.files import to_yaml
from tunesmith.store.experiments import Experiment
from tunesmith.store.files import sha256_of
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL
from tunesmith.training.config import TrainConfig

LOSSES = (2.5, 1.25, 0.75, 0.5)  # of steps 1 to 4
VAL_LOSSES = {0: 3.0, 2: 1.5, 4: 1.75}


def add_ended_run(services: Services, name: str = "hand made", status: str = "completed", **settings: Any) -> Experiment:
    """Write an ended run whose every figure is known: losses, held-out losses, two answers, an adapter with its manifest."""
    store = services.store
    config = TrainConfig(**{"model": "demo", "data": "company_facts", "name": name, "iters": 4, "seed": 7} | settings)
    run = store.create(
        to_yaml(config), name=name, kind="train", method=config.method, model="demo", data="company_facts", owner="ann",
        model_path=str(DEMO_MODEL), data_path=str(DEMO_DATA / "company_facts"),
    )  # fmt: skip
    folder = store.folder(run.id)
    metrics = [{"step": step, "val_loss": loss} for step, loss in VAL_LOSSES.items()]
    metrics += [
        {"step": n, "train_loss": loss, "learning_rate": 1e-4, "tokens_seen": n * 100, "elapsed_seconds": n * 0.5, "steps_planned": 4,
         "peak_memory_bytes": 2e8, "tokens_per_second": 800.0}
        for n, loss in enumerate(LOSSES, 1)
    ]  # fmt: skip
    ordered = sorted(metrics, key=lambda record: record["step"])
    lines = ({"v": 1, "seq": n, "attempt": 1, "time": 1e9 + n, **record} for n, record in enumerate(ordered))
    folder.metrics.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    events: list[dict[str, Any]] = [
        {"kind": "run_started", "rows": 12, "steps": 4, "device": "cpu"}, {"kind": "rows_left_out", "count": 3},
        {"kind": "sample", "step": 0, "prompt": "Who | what?", "text": "I do not know.", "expected": "Norvik"},
        {"kind": "sample", "step": 4, "prompt": "Who | what?", "text": "Norvik <b>", "expected": "Norvik"},
        {"kind": "checkpoint", "step": 4},
    ]  # fmt: skip
    folder.events.write_bytes(b"".join(orjson.dumps({"v": 1, "time": 1e9, "attempt": 1} | event) + b"\n" for event in events))
    folder.log.write_text("step 4/4 loss 0.5\n")
    write_adapter_files(folder.adapter)
    files = {p.name: {"size_bytes": p.stat().st_size, "sha256": sha256_of(p)} for p in folder.adapter.iterdir()}
    (folder.adapter / "MANIFEST.json").write_bytes(orjson.dumps({"v": 1, "files": files}))
    for step in ("starting", "running", status):
        run = store.transition(run, step)
    return store.change(run, summary=summarise(folder), ended_at=run.created_at + 2, started_at=run.created_at)
