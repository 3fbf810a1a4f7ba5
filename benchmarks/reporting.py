"""Measures models one after the other; prints figures as a table and keeps them as JSON with the machine, versions and date."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tunesmith.system.device import blas_name, chip_name, device_name
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("mlx", "mlx-lm", "numpy")


def describe_machine() -> dict[str, Any]:
    """Return what a reader needs to judge the figures."""
    return {
        "system": platform.system(), "chip": chip_name(), "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else
        os.cpu_count(), "device": device_name(), "blas": blas_name(), "python": platform.python_version(),
    }  # fmt: skip


def measure_models(measure: Callable[[str, Path, Path], dict[str, Any]], columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """Measure the shipped model and a random one of 60M parameters, or those named on the command line; print a line for each.

    `measure` is given the model's name, its folder, and a folder to write in; `columns` are the titles of what is printed, by key.
    """
    from benchmarks.random_model import write_random_model  # mlx is imported only after its BLAS was chosen

    texts = (DEMO_DATA / "company_facts" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    cells = []
    with tempfile.TemporaryDirectory() as name:
        models = {"demo": DEMO_MODEL, "random-60m": Path(name) / "random"}
        for label in sys.argv[1:] or models:
            if label == "random-60m":
                write_random_model(models[label], texts)
            (Path(name) / label).mkdir()
            cells.append(measure(label, models[label], Path(name) / label))
    print_table(cells, columns)
    return cells


def print_table(cells: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print a Markdown table: a line for each cell, a column for each key."""
    print(f"| {' | '.join(columns.values())} |")
    print("|---" * len(columns) + "|")
    for cell in cells:
        values = [f"{cell[key]:.2f}" if isinstance(cell[key], float) else str(cell[key]) for key in columns]
        print(f"| {' | '.join(values)} |", flush=True)


def publish(name: str, figures: dict[str, Any]) -> None:
    """Print the table, write `results/<name>.json`, and print that JSON as the last line."""
    width = max(len(key) for key in figures)
    for key, value in figures.items():
        if not isinstance(value, list | dict):
            print(f"  {key:<{width}}  {value:.4g}" if isinstance(value, float) else f"  {key:<{width}}  {value}")
    record = figures | {
        "machine": describe_machine(),
        "versions": {package: version(package) for package in PACKAGES},
        "date": time.strftime("%Y-%m-%d"),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record))
