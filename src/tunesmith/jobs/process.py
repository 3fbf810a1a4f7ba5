"""Worker processes: launch in a session of their own, find again after a restart, stop. Knows no records."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "USER", "TZ", "PYTHONPATH")
_PASSED_PREFIXES = ("LC_", "MLX_", "OMP_", "OPENBLAS_", "CUDA_", "AGX_", "TUNESMITH_", "PYTHONHASHSEED")


def worker_environment(source: Mapping[str, str]) -> dict[str, str]:
    """Return what a worker may see of our environment: no tokens, no keys, no model hub."""
    kept = {k: v for k, v in source.items() if k in _PASSED_ON or k.startswith(_PASSED_PREFIXES)}
    return kept | {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "AGX_RELAX_CDM_CTXSTORE_TIMEOUT": "1",  # else macOS kills long Metal work while the display is on
    }


def launch_worker(run_dir: Path, nonce: str, inherited: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start `python -m tunesmith.jobs.worker` for a run; its output goes to the run's log, its locks come with it."""
    with (run_dir / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tunesmith.jobs.worker", str(run_dir), "--nonce", nonce],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=worker_environment(os.environ),
            start_new_session=True,  # Ctrl-C in the server's terminal must not reach a training
            pass_fds=tuple(inherited),
        )


def signal_worker(pid: int, nonce: str, number: signal.Signals) -> bool:
    """Signal a worker's process group, only if pid and nonce both match; return whether it was there."""
    try:
        process = psutil.Process(pid)
        if nonce not in process.cmdline():
            return False
        os.killpg(pid, number)
    except (psutil.Error, ProcessLookupError, PermissionError):
        return False
    return True
