"""Memory and disk of this computer, as sampled readings; refuses what would not fit on the disk. Knows no mlx: the worker tells of that."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from tunesmith.errors import UserError

RESERVE_BYTES = 50_000_000  # never the last of a disk


@dataclass(frozen=True)
class MemoryReading:
    """One sample, in bytes."""

    total_bytes: int
    available_bytes: int
    swap_bytes: int


def read_memory() -> MemoryReading:
    """Sample the computer's memory."""
    memory = psutil.virtual_memory()
    return MemoryReading(memory.total, memory.available, psutil.swap_memory().used)


def disk_free_bytes(folder: Path) -> int:
    """Return the free bytes on the volume that holds the folder, or would hold it."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_space(folder: Path, needed_bytes: int) -> None:
    """Refuse to write so much where it would not fit. Raises UserError `disk_nearly_full`."""
    free = disk_free_bytes(folder)
    if free < needed_bytes + RESERVE_BYTES:
        raise UserError("disk_nearly_full", folder=str(folder), free_bytes=free, needed_bytes=needed_bytes + RESERVE_BYTES)
