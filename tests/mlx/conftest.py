"""Real MLX on the shipped model: small, so that a training step takes milliseconds. MLX is never mocked."""

from __future__ import annotations

from tunesmith.models.blas import prepare_engine

prepare_engine()  # before the first import of mlx

from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import mlx.core as mx  # noqa: E402
import orjson  # noqa: E402
import pytest  # noqa: E402

from tunesmith.models.loading import LoadedModel, load_model  # noqa: E402
from tunesmith.system.paths import DEMO_MODEL  # noqa: E402
from tunesmith.training import validation  # noqa: E402
from tunesmith.training.config import LoraParameters, TrainConfig  # noqa: E402
from tunesmith.training.run import train  # noqa: E402


@pytest.fixture(autouse=True, scope="package")
def _short_samples() -> Iterator[None]:
    """The sample prompts of a run of a few steps: 40 tokens each would take longer than the steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "SAMPLE_TOKENS", 4)
        yield


@pytest.fixture
def base() -> LoadedModel:
    return load_model(DEMO_MODEL)


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Write a data set folder of (question, answer) pairs."""
    return writer_of_rows(tmp_path)


def writer_of_rows(root: Path) -> Callable[..., Path]:
    def write(train_pairs: list[tuple[str, str]], valid_pairs: list[tuple[str, str]] | None = None) -> Path:
        folder = root / "rows"
        folder.mkdir(exist_ok=True)
        for split, pairs in (("train", train_pairs), ("valid", valid_pairs or train_pairs[:1])):
            rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in pairs]
            (folder / f"{split}.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
        return folder

    return write


@pytest.fixture
def run_training(tmp_path: Path) -> Iterator[Callable[..., tuple[str, Path]]]:
    """Train for real and return (status, run folder)."""
    yield trainer_in(tmp_path)
    mx.clear_cache()


def trainer_in(root: Path) -> Callable[..., tuple[str, Path]]:
    count = 0

    def run(data: Path, wish: Callable[[], Any] = lambda: "", again: Path | None = None, **changes: Any) -> tuple[str, Path]:
        """`again` goes on in the folder of an earlier run."""
        nonlocal count
        count += 1
        folder = again or root / f"run-{count}"
        folder.mkdir(exist_ok=True)
        settings: dict[str, Any] = {
            "iters": 5, "batch_size": 4, "learning_rate": 1e-3, "steps_per_report": 1, "steps_per_eval": 100, "save_every": 1000,
            "max_seq_length": 128, "lr_schedule": "constant", "lora_parameters": LoraParameters(rank=8, scale=8.0), "seed": 3,
        }  # fmt: skip
        config = TrainConfig(**(settings | changes))
        return train(config, DEMO_MODEL, data, folder, wish, attempt=count), folder

    return run


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]
