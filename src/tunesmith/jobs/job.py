"""Work beside training runs: a folder for each job, written by one worker process, read by pages. Knows no kind of work.

`request.json` says what, `progress.json` how far it is, `end.json` how it ended; the lock tells whether a worker lives.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.store.files import read_json, write_json
from tunesmith.store.locks import ProcessLock, is_held
from tunesmith.system.environment import worker_environment
from tunesmith.system.paths import resolve_under

REQUEST, PROGRESS, END, CANCEL, LOCK, LOG = "request.json", "progress.json", "end.json", "cancel", "lock", "log.txt"
FORECAST_FROM = 0.02  # share done from which the rest can be foretold


@dataclass(frozen=True)
class Job:
    """How far a job is: `status` is running, completed, failed, cancelled, or stopped (its worker died); `share` of the phase 0..1."""

    id: str
    kind: str
    request: dict[str, Any]
    status: str
    phase: str
    share: float
    seconds: float
    result: dict[str, Any]
    error: UserError | None
    created_at: float
    folder: Path

    @property
    def ended(self) -> bool:
        """Whether no worker is at it."""
        return self.status != "running"

    @property
    def seconds_left(self) -> float | None:
        """What the rest of this phase takes at its pace so far, None while that cannot be told."""
        return self.seconds / self.share * (1 - self.share) if self.share > FORECAST_FROM else None


class JobFolders:
    """`<root>/<id>/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def create(self, request: Mapping[str, Any]) -> str:
        """Write down what is wanted and return the job's id. Raises UserError `disk_full`."""
        job_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        folder = self.root / job_id
        folder.mkdir(mode=0o700)
        write_json(folder / REQUEST, {**request, "folder": str(folder), "created_at": time.time()})
        return job_id

    def folder(self, job_id: str) -> Path:
        """Return a job's folder. Raises UserError `job_unknown`."""
        path = resolve_under(self.root, job_id)
        if not (path / REQUEST).is_file():
            raise UserError("job_unknown", job=job_id)
        return path

    def all(self) -> list[Path]:
        """Return the jobs' folders, newest first."""
        return sorted((p for p in self.root.iterdir() if (p / REQUEST).is_file()), reverse=True)

    def delete(self, job_id: str) -> None:
        """Delete what is known of an ended job. Raises UserError `job_unknown`, `job_running`."""
        folder = self.folder(job_id)
        if is_held(folder / LOCK):
            raise UserError("job_running", job=job_id)
        shutil.rmtree(folder)


def kind_of(folder: Path) -> str:
    """Return a job's kind without reading what it made."""
    return str(read_json(folder / REQUEST).get("kind", ""))


def read_job(folder: Path) -> Job:
    """Return how far a job is."""
    request, end = read_json(folder / REQUEST), read_end(folder)
    told = read_json(folder / PROGRESS) if (folder / PROGRESS).exists() else {}
    return Job(
        id=folder.name, kind=str(request.get("kind", "")), request=request, status=status_of(folder, end), phase=str(told.get("phase", "")),
        share=float(told.get("share", 0.0)), seconds=float(told.get("seconds", 0.0)), result=end.get("result") or {},
        error=error_of(end), created_at=float(request["created_at"]), folder=folder,
    )  # fmt: skip


def read_end(folder: Path) -> dict[str, Any]:
    """Return how a job ended, nothing while it has not."""
    return dict(read_json(folder / END)) if (folder / END).exists() else {}


def status_of(folder: Path, end: Mapping[str, Any]) -> str:
    """Return `running`, how the job ended, or `stopped` when its worker died."""
    return "running" if is_held(folder / LOCK) else str(end.get("status", "stopped"))


def error_of(end: Mapping[str, Any]) -> UserError | None:
    """Return what went wrong."""
    error = end.get("error")
    return UserError(error["code"], **error["facts"]) if error else None


def launch(folder: Path, worker: str, environment: Mapping[str, str] | None = None) -> None:
    """Start a job's worker, or start it again, with what it needs of our environment. Raises UserError `job_running`."""
    lock = ProcessLock(folder / LOCK)
    if not lock.acquire():
        raise UserError("job_running", job=folder.name)
    try:
        for name in (END, CANCEL, PROGRESS):
            (folder / name).unlink(missing_ok=True)
        with (folder / LOG).open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", worker, str(folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=worker_environment(os.environ) | dict(environment or {}), start_new_session=True, pass_fds=(lock.descriptor(),),
            )  # fmt: skip
    finally:
        lock.release()
    threading.Thread(target=child.wait, name="tunesmith-job-waiter", daemon=True).start()  # reaps it


def cancel(folder: Path) -> None:
    """Ask the worker to end at its next step."""
    (folder / CANCEL).touch()
