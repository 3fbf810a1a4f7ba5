"""The process of a dry run: `python -m tunesmith.jobs.measure_worker FOLDER MODEL DATA`; FOLDER holds config.yaml.

Its last line tells the figures.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import orjson

from tunesmith.errors import UserError
from tunesmith.models.blas import prepare_worker
from tunesmith.settings.files import from_mapping, parse_yaml
from tunesmith.store.files import LineTail
from tunesmith.training.config import TrainConfig

STEPS = 3


def _measure_here(folder: Path, model: Path, data: Path) -> dict[str, object]:
    prepare_worker()  # before the first import of mlx
    from tunesmith.training.run import measure_steps

    config = from_mapping(TrainConfig, parse_yaml((folder / "config.yaml").read_text(encoding="utf-8"), "config.yaml"))
    short = dataclasses.replace(
        config, iters=STEPS, epochs=0.0, steps_per_report=1, save_every=10**6, patience=0, keep_best=False, num_processes=1
    )
    shape = measure_steps(short, model, data, folder)
    reports = [r for r in LineTail(folder / "metrics.jsonl").read_new() if "train_loss" in r]
    later = reports[1:]  # the first step also allocates
    return {
        "peak_bytes": max(r["peak_memory_bytes"] for r in reports), "shape": [*shape],
        "tokens_per_second": sum(r["tokens_per_second"] for r in later) / len(later),
        "seconds_per_step": sum(r["seconds_per_step"] for r in later) / len(later),
    }  # fmt: skip


def main() -> None:
    """Be the process that does the steps; its last line tells the figures."""
    folder, model, data = map(Path, sys.argv[1:])
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints goes to the log
    try:
        answer = _measure_here(folder, model, data)
    except UserError as error:
        answer = {"error": error.as_record()}
    out.write(orjson.dumps(answer) + b"\n")
    out.flush()


if __name__ == "__main__":
    main()
