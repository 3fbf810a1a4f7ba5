"""What the graphics processor does, where the platform tells a plain account: macOS by ioreg, NVIDIA by nvidia-smi. Knows no mlx."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

WAIT_SECONDS = 3.0
_FIELDS = "name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw"
_IOREG = ["/usr/sbin/ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator"]
MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """One processor; a figure is None where the platform does not tell it. Unified memory has no total of its own."""

    name: str
    busy_percent: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None = None
    celsius: float | None = None
    watts: float | None = None


def read_gpus() -> list[Gpu]:
    """Return the graphics processors, none where this platform does not tell. Starts a small program: 20 to 100 ms."""
    if sys.platform == "darwin":
        return parse_ioreg(_answer(_IOREG))
    program = shutil.which("nvidia-smi")
    return parse_nvidia(_answer([program, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"])) if program else []


def _answer(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def parse_nvidia(text: str) -> list[Gpu]:
    """Return the processors in nvidia-smi's CSV lines (percent, MiB, MiB, °C, W; `[N/A]` for what one does not tell)."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 6:
            continue
        busy, used, total, celsius, watts = (_number(cell) for cell in cells[1:])
        found.append(Gpu(cells[0], busy, _mib(used), _mib(total), celsius, watts))
    return found


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _mib(value: float | None) -> int | None:
    return None if value is None else int(value * MIB)


def parse_ioreg(text: str) -> list[Gpu]:
    """Return the processor in the `PerformanceStatistics` of ioreg's IOAccelerator, none where there are no such figures."""
    busy = re.search(r'"Device Utilization %"\s*=\s*(\d+)', text)
    if not busy:
        return []
    model = re.search(r'"model"\s*=\s*"([^"]+)"', text)
    used = re.search(r'"In use system memory"\s*=\s*(\d+)', text)
    return [Gpu(model.group(1) if model else "Apple GPU", float(busy.group(1)), int(used.group(1)) if used else None)]
