"""Which processor does the work here: Metal, CUDA or CPU. Asks the operating system, never mlx (the page process may not)."""

from __future__ import annotations

import ctypes.util
import functools
import importlib.util
import platform
import subprocess
import sys
from pathlib import Path


@functools.cache
def device_name() -> str:
    """Return `metal`, `cuda` or `cpu`: what MLX will use in a worker on this computer."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "metal"
    if importlib.util.find_spec("mlx_cuda") is not None or _has_cuda_wheel():
        return "cuda"
    return "cpu"


def _has_cuda_wheel() -> bool:
    """Look for the folder of the package's record: to read every package's record took a tenth of a worker's start."""
    return any(next(Path(entry).glob("mlx_cuda*.dist-info"), None) for entry in sys.path)


@functools.cache
def chip_name() -> str:
    """Return the processor's name as the system tells it."""
    if sys.platform == "darwin":
        answer = subprocess.run(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
        return answer.stdout.strip() or platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@functools.cache
def blas_name() -> str:
    """Return which BLAS a CPU worker multiplies with: `accelerate`, `openblas`, or `reference` (12 to 40 times slower)."""
    if sys.platform == "darwin":
        return "accelerate"
    return "openblas" if ctypes.util.find_library("openblas") else "reference"
