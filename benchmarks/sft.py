"""Supervised fine-tuning against mlx_lm's own trainer: same model, rows, steps, optimiser, BLAS; each arm in a process of its own.

Both see every row once. Tokens are those of the rows, never padding. The final loss is measured by mlx_lm's default loss on the same
held-out rows; `noise` is the spread of our own final loss over two orders of the rows.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tunesmith.models.blas import prepare_engine

prepare_engine()  # before the first import of mlx

import mlx.core as mx  # noqa: E402
import mlx.optimizers as optim  # noqa: E402
from mlx_lm.tuner.datasets import CacheDataset, create_dataset  # noqa: E402
from mlx_lm.tuner.trainer import TrainingArgs, default_loss  # noqa: E402
from mlx_lm.tuner.trainer import evaluate as evaluate_stock  # noqa: E402
from mlx_lm.tuner.trainer import train as train_stock  # noqa: E402
from mlx_lm.tuner.utils import linear_to_lora_layers, load_adapters  # noqa: E402

from benchmarks.random_model import write_random_model  # noqa: E402
from benchmarks.reporting import publish  # noqa: E402
from tunesmith.models.loading import load_model  # noqa: E402
from tunesmith.system.paths import DEMO_MODEL, REPOSITORY  # noqa: E402
from tunesmith.training.config import LoraParameters, TrainConfig  # noqa: E402
from tunesmith.training.run import train  # noqa: E402

DATA = REPOSITORY.parent / "shared" / "data"
LORA = {"rank": 8, "scale": 20.0, "dropout": 0.0}
BATCH, HELD_OUT, LONGEST, RATE = 8, 64, 1024, 3e-4
STEPS = {"demo": 60, "random-60m": 16}


def read_rows(name: str) -> list[dict[str, str]]:
    """Return gsm8k as prompt and completion, wikisql as text."""
    rows = [json.loads(line) for line in (DATA / f"{name}_train.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{"prompt": r["question"], "completion": r["answer"]} if "question" in r else r for r in rows]


def write_cell(folder: Path, rows: list[dict[str, str]], count: int) -> None:
    """Write the rows to learn from and held-out ones, shuffled: mlx_lm batches neighbours of the file, which in wikisql share a table."""
    spread = random.Random(0).sample(rows, min(len(rows), count + HELD_OUT))
    for split, part in (("train", spread[:count]), ("valid", spread[count:])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")


def as_stock(path: Path, tokenizer: Any) -> Any:
    """Return rows as mlx_lm's trainer takes them, tokenised beforehand."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    dataset = create_dataset(rows, tokenizer, type("Options", (), {"mask_prompt": "prompt" in rows[0]}))
    cached = CacheDataset(dataset)
    for index in range(len(cached)):
        _ = cached[index]
    return cached


def run_stock(model_path: Path, folder: Path, steps: int, seed: int) -> dict[str, Any]:
    """Train by mlx_lm's loop."""
    base = load_model(model_path)
    rows = as_stock(folder / "train.jsonl", base.tokenizer)
    tokens = sum(len(rows[i][0]) - 1 for i in range(len(rows)))
    mx.random.seed(seed)
    base.model.freeze()
    linear_to_lora_layers(base.model, -1, LORA)
    mx.eval(base.model.parameters())
    adapter = folder / "stock"
    adapter.mkdir(exist_ok=True)
    args = TrainingArgs(
        batch_size=BATCH, iters=steps, max_seq_length=LONGEST, steps_per_report=steps, steps_per_save=10**9,
        adapter_file=str(adapter / "adapters.safetensors"),
    )  # fmt: skip
    config = {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": LORA}
    (adapter / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    mx.reset_peak_memory()
    began = time.perf_counter()
    train_stock(base.model, optim.Adam(RATE, bias_correction=True), rows, None, args)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "tokens": tokens, "peak_bytes": mx.get_peak_memory(), "adapter": str(adapter)}


def run_ours(model_path: Path, folder: Path, steps: int, seed: int) -> dict[str, Any]:
    """Train by our loop; its own clock counts the steps, as the other arm's does."""
    run_dir = Path(tempfile.mkdtemp(dir=folder))
    config = TrainConfig(
        iters=steps, batch_size=BATCH, learning_rate=RATE, max_seq_length=LONGEST, lr_schedule="constant", grad_clip=0.0,
        steps_per_report=1, steps_per_eval=10**6, save_every=10**6, val_batches=0, seed=seed, lora_parameters=LoraParameters(**LORA),
    )  # fmt: skip
    mx.reset_peak_memory()
    train(config, model_path, folder, run_dir, lambda: "")
    peak = mx.get_peak_memory()
    reports = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    reports = [r for r in reports if "train_loss" in r]
    seconds = sum(r["seconds_per_step"] for r in reports)
    return {"seconds": seconds, "tokens": reports[-1]["tokens_seen"], "peak_bytes": peak, "adapter": str(run_dir / "adapter")}


def measure_loss(model_path: Path, folder: Path, adapter: str) -> float:
    """Return mlx_lm's own loss on the held-out rows, computed by mlx_lm alone.

    Its batches also count one padding token behind each row as a target; that one is left out, for it is no part of the data.
    """
    base = load_model(model_path)
    load_adapters(base.model, adapter)
    rows = as_stock(folder / "valid.jsonl", base.tokenizer)
    return float(evaluate_stock(base.model, rows, BATCH, -1, LONGEST, loss=without_padding))


def without_padding(model: Any, batch: mx.array, lengths: mx.array) -> tuple[mx.array, mx.array]:
    """Return mlx_lm's default loss up to the row's last token."""
    loss, count = default_loss(model, batch, lengths - mx.array([0, 1]))
    return loss, count


def run_arm(arm: str, model_path: Path, folder: Path, steps: int, seed: int) -> None:
    """Be one arm: train, then tell the figures on the last line."""
    figures = (run_ours if arm == "ours" else run_stock)(model_path, folder, steps, seed)
    figures["loss"] = measure_loss(model_path, folder, figures["adapter"])
    print(json.dumps(figures))


def call_arm(*arguments: object) -> dict[str, Any]:
    """Run an arm in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.sft", *map(str, arguments)]
    output = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer


def measure_cell(data: str, name: str, model_path: Path, folder: Path) -> dict[str, Any]:
    """Return one line of the table."""
    steps = STEPS[name]
    folder.mkdir()
    write_cell(folder, read_rows(data), steps * BATCH)
    ours, theirs, again = (call_arm(arm, model_path, folder, steps, seed) for arm, seed in (("ours", 0), ("stock", 0), ("ours", 1)))
    if ours["tokens"] != theirs["tokens"]:
        raise SystemExit(f"{data}, {name}: the arms saw {ours['tokens']} and {theirs['tokens']} tokens")
    return {
        "data": data, "model": name, "steps": steps, "rows": steps * BATCH, "tokens": ours["tokens"],
        "speed_ratio": theirs["seconds"] / min(ours["seconds"], again["seconds"]), 
        "memory_ratio": ours["peak_bytes"] / theirs["peak_bytes"],
        "loss_ours": ours["loss"], "loss_theirs": theirs["loss"], "noise": abs(ours["loss"] - again["loss"]),
        "tokens_per_second_ours": ours["tokens"] / ours["seconds"], "tokens_per_second_theirs": theirs["tokens"] / theirs["seconds"],
        "epoch_seconds_ours": ours["seconds"], "epoch_seconds_theirs": theirs["seconds"],
        "peak_bytes_ours": ours["peak_bytes"], "peak_bytes_theirs": theirs["peak_bytes"],
    }  # fmt: skip


def main() -> None:
    """Measure every cell, or be one arm when asked to."""
    if len(sys.argv) > 1:
        arm, model_path, folder, steps, seed = sys.argv[1:]
        run_arm(arm, Path(model_path), Path(folder), int(steps), int(seed))
        return
    if not DATA.is_dir():
        raise SystemExit(f"this benchmark reads gsm8k_train.jsonl and wikisql_train.jsonl in {DATA}")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        texts = [" ".join(row.values()) for name in ("gsm8k", "wikisql") for row in read_rows(name)]
        parameters = write_random_model(root / "random-60m", texts)
        models = {"demo": DEMO_MODEL, "random-60m": root / "random-60m"}
        cells = []
        for data in ("gsm8k", "wikisql"):
            for name, path in models.items():
                cells.append(measure_cell(data, name, path, root / f"{data}-{name}"))
                print("  " + "  ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in cells[-1].items() if k != "rows"))
        publish("sft", {"parameters_random": parameters, "batch_size": BATCH, "cells": cells})


if __name__ == "__main__":
    main()
