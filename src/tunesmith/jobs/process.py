"""Worker processes: launch in a session of their own, find again after a restart, stop. Knows no records."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tunesmith.system.environment import worker_environment
from tunesmith.system.paths import typed_path


def worker_command(run_dir: Path, nonce: str, processes: int = 1, hostfile: str = "", port: int = 0) -> list[str]:
    """Return the command of a run's worker; of several processes, under mlx.launch's ring from `port` on."""
    alone = [sys.executable, "-m", "tunesmith.jobs.worker", str(run_dir), "--nonce", nonce]
    if processes == 1 and not hostfile:
        return alone
    launcher = [str(Path(sys.executable).with_name("mlx.launch")), "--backend", "ring", "--starting-port", str(port)]
    spread = ["--hostfile", str(typed_path(hostfile))] if hostfile else ["-n", str(processes)]
    return [*launcher, *spread, "--", *alone]


def launch_worker(run_dir: Path, command: Sequence[str], inherited: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a run's worker; its output goes to the run's log, its locks come with it."""
    with (run_dir / "log.txt").open("ab") as log:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=worker_environment(os.environ),
            start_new_session=True,  # Ctrl-C in the server's terminal must not reach a training
            pass_fds=tuple(inherited),
        )


def find_worker(nonce: str) -> int:
    """Return the pid of a launch's first process, 0 where there is none: whoever launched it may have died before writing it down."""
    for process in psutil.process_iter(["cmdline"]):
        if nonce in (process.info["cmdline"] or ()):
            with suppress(ProcessLookupError):
                return os.getpgid(process.pid)
    return 0


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
