"""Memory and disk of this computer, as sampled readings. Knows no mlx: MLX's own figures come from the worker's metrics."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class MemoryReading:
    """One sample, in bytes."""

    total_bytes: int
    available_bytes: int
    process_bytes: int
    swap_bytes: int


def read_memory() -> MemoryReading:
    """Sample the computer's memory and this process's share."""
    memory = psutil.virtual_memory()
    return MemoryReading(memory.total, memory.available, psutil.Process().memory_info().rss, psutil.swap_memory().used)


def disk_free_bytes(folder: Path) -> int:
    """Return the free bytes on the volume that holds the folder, or would hold it."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
