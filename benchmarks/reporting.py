"""Prints a benchmark's figures as a table and keeps them as JSON with the machine, versions and date."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tunesmith.system.device import blas_name, chip_name, device_name

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("mlx", "mlx-lm", "numpy")


def describe_machine() -> dict[str, Any]:
    """Return what a reader needs to judge the figures."""
    return {
        "system": platform.system(), "chip": chip_name(), "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else
        os.cpu_count(), "device": device_name(), "blas": blas_name(), "python": platform.python_version(),
    }  # fmt: skip


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
