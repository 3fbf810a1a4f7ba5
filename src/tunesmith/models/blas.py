"""Gives MLX on a Linux CPU a fast BLAS and no compiler: call `prepare_engine` before the first import of mlx, a worker `prepare_worker`."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

from tunesmith.errors import UserError
from tunesmith.system.device import device_name

OPENBLAS = "libopenblas.so.0"
OPEN_FILES = (2048, 4096)  # what mlx_lm sets as soft and hard limit when it is imported


def load_openblas() -> str:
    """Load OpenBLAS over the wheel's reference BLAS (12 to 40 times faster); return which one MLX will use on a CPU."""
    if sys.platform == "darwin":
        return "accelerate"
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(min(4, os.cpu_count() or 1)))
    try:
        ctypes.CDLL(OPENBLAS, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return "reference"
    return "openblas"


def prepare_engine() -> str:
    """Load the BLAS and switch `mx.compile` off on a CPU, where it runs a C++ compiler per shape; return the BLAS's name.

    Raises UserError `open_files_limited` where the import of mlx_lm would end in an exception that names nothing.
    """
    blas = load_openblas()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, OPEN_FILES)
    except (ValueError, OSError) as error:
        raise UserError("open_files_limited", limit=resource.getrlimit(resource.RLIMIT_NOFILE)[1], needed=OPEN_FILES[1]) from error
    if device_name() == "cpu":
        os.environ["MLX_DISABLE_COMPILE"] = "1"
    return blas


def prepare_worker() -> str:
    """Do the same for a process that is ours alone, where transformers finds no torch: it imports one that is installed.

    That would be two thirds of a worker's start (2 s, 190 MB), and nothing of ours or of mlx_lm's asks for it.
    """
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    return prepare_engine()
