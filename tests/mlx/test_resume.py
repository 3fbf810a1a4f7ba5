"""A run that was stopped and goes on is the run that was never stopped: the same figures and weights, bit for bit."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from tests.mlx.conftest import read_lines, trainer_in, writer_of_rows
from tunesmith.errors import UserError
from tunesmith.models.adapter_files import WEIGHTS
from tunesmith.store.series import MetricSeries
from tunesmith.training.config import OPTIMIZERS, LoraParameters

PAIRS = [(f"What is the code of box {n}?", f"The code is {n * 37}.") for n in range(7)]
MEASURED = ("train_loss", "val_loss", "grad_norm", "learning_rate", "tokens_seen", "epoch")
Train = Callable[..., tuple[str, Path]]
Write = Callable[..., Path]
SETTINGS: dict[str, Any] = {
    "iters": 12, "batch_size": 3, "steps_per_report": 3, "steps_per_eval": 4, "save_every": 5, "warmup": 2, "lr_schedule": "cosine",
    "lora_parameters": LoraParameters(rank=4, scale=8.0, dropout=0.1), "grad_accumulation_steps": 2,
}  # fmt: skip


def stop_after(steps: int, how: str) -> Callable[[], str]:
    calls = itertools.count()
    return lambda: how if next(calls) >= steps else ""


def figures(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Every measured point as the pages see it: a newer attempt replaces the older one's later points."""
    series = MetricSeries(folder / "metrics.jsonl")
    series.refresh()
    return {name: list(zip(*(column.tolist() for column in series.column(name)), strict=True)) for name in MEASURED}


def weights(folder: Path) -> dict[str, Any]:
    return dict(mx.load(str(folder / "adapter" / WEIGHTS)))  # type: ignore[arg-type]


def assert_same(left: Path, right: Path) -> None:
    assert figures(left) == figures(right)
    a, b = weights(left), weights(right)
    assert a.keys() == b.keys()
    assert all(mx.array_equal(a[name], b[name]).item() for name in a)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that was never stopped."""
    root = tmp_path_factory.mktemp("whole")
    return trainer_in(root)(writer_of_rows(root)(PAIRS, PAIRS[:3]), **SETTINGS)[1]


@pytest.mark.parametrize("step", random.Random(20).sample(range(1, 12), 5))
def test_stopped_anywhere_and_resumed_is_uninterrupted(whole: Path, run_training: Train, write_rows: Write, step: int) -> None:
    data = write_rows(PAIRS, PAIRS[:3])
    status, parts = run_training(data, wish=stop_after(step, "pause"), **SETTINGS)
    assert status == "paused"
    status, _ = run_training(data, again=parts, **SETTINGS)
    assert status == "completed"
    assert_same(parts, whole)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_resumes_exactly(run_training: Train, write_rows: Write, optimizer: str) -> None:
    data = write_rows(PAIRS, PAIRS[:3])
    settings = SETTINGS | {"optimizer": optimizer, "iters": 6, "learning_rate": 1e-4}
    _, whole = run_training(data, **settings)
    _, parts = run_training(data, wish=stop_after(4, "pause"), **settings)
    run_training(data, again=parts, **settings)
    assert_same(parts, whole)
    assert any(float(mx.abs(w).max()) > 0 for name, w in weights(whole).items() if name.endswith("lora_b"))


def test_a_killed_run_goes_on_from_its_newest_checkpoint(whole: Path, run_training: Train, write_rows: Write, tmp_path: Path) -> None:
    """What was measured after that checkpoint is measured again, not shown twice."""
    data = write_rows(PAIRS, PAIRS[:3])

    class Killed(Exception):
        pass

    calls = itertools.count()

    def kill() -> str:
        if next(calls) >= 8:
            raise Killed
        return ""

    with pytest.raises(Killed):
        run_training(data, wish=kill, **SETTINGS)
    parts = tmp_path / "run-1"
    assert [p.name for p in (parts / "checkpoints").iterdir()] == ["step-5"]
    run_training(data, again=parts, **SETTINGS)
    assert_same(parts, whole)
    events = read_lines(parts / "events.jsonl")
    assert next(e["step"] for e in events if e["kind"] == "resumed") == 5


def test_a_damaged_checkpoint_is_passed_over(whole: Path, run_training: Train, write_rows: Write) -> None:
    data = write_rows(PAIRS, PAIRS[:3])
    _, parts = run_training(data, wish=stop_after(9, "pause"), **SETTINGS)
    (parts / "checkpoints" / "step-9" / "optimizer.safetensors").write_bytes(b"broken")
    run_training(data, again=parts, **SETTINGS)
    assert_same(parts, whole)
    for folder in (parts / "checkpoints").iterdir():
        (folder / WEIGHTS).write_bytes(b"broken")
    with pytest.raises(UserError) as caught:
        run_training(data, again=parts, **SETTINGS)
    assert caught.value.code == "saved_folder_damaged"


def test_a_checkpoint_of_another_shape_is_refused_and_nothing_is_lost(run_training: Train, write_rows: Write) -> None:
    data = write_rows(PAIRS, PAIRS[:3])
    _, parts = run_training(data, wish=stop_after(4, "pause"), **SETTINGS)
    before = {p: p.read_bytes() for p in (parts / "checkpoints").rglob("*") if p.is_file()}
    with pytest.raises(UserError) as caught:
        run_training(data, again=parts, **(SETTINGS | {"lora_parameters": LoraParameters(rank=2)}))
    assert caught.value.code == "checkpoint_of_another_config"
    assert {p: p.read_bytes() for p in (parts / "checkpoints").rglob("*") if p.is_file()} == before


def test_a_longer_run_goes_on_from_a_shorter_one(run_training: Train, write_rows: Write, tmp_path: Path) -> None:
    """With a constant rate, 6 steps and 6 more are 12."""
    data = write_rows(PAIRS, PAIRS[:3])
    settings = SETTINGS | {"lr_schedule": "constant"}
    _, whole = run_training(data, **settings)
    _, short = run_training(data, **(settings | {"iters": 6}))
    longer = tmp_path / "longer"
    longer.mkdir()
    shutil.copytree(short / "checkpoints", longer / "checkpoints")
    run_training(data, again=longer, **settings)
    a, b = weights(longer), weights(whole)
    assert all(mx.array_equal(a[name], b[name]).item() for name in a)
