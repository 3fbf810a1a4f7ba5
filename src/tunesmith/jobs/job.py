"""Work beside training runs: a folder for each job, written by one worker process, read by pages. Knows no kind of work.

`request.json` says what, `progress.json` how far it is, `end.json` how it ended; the lock tells whether a worker lives.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tunesmith.errors import UserError
from tunesmith.store.files import make_folder, put_in_place, read_json, staged_folder, sweep_leftovers, worded, write_json
from tunesmith.store.ids import new_id
from tunesmith.store.locks import ProcessLock, is_held
from tunesmith.store.saved_folders import drop_whole
from tunesmith.system.environment import worker_environment
from tunesmith.system.paths import resolve_under

REQUEST, PROGRESS, END, CANCEL, LOCK, LOG = "request.json", "progress.json", "end.json", "cancel", "lock", "log.txt"
JOBS, EVALUATIONS = "jobs", "evaluations"  # shelves: what may be forgotten, and jobs whose folder holds what they found
FORECAST_FROM = 0.02  # share done from which the rest can be foretold


T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """How far a job is: `status` is running, completed, failed, cancelled, or stopped (its worker died); `share` of the phase 0..1.

    `first_share` was there when the phase began, `seconds` ago: a download that goes on begins in its middle.
    """

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
    first_share: float = 0.0

    @property
    def owner(self) -> str:
        """Who started it; nothing for an old one."""
        return str(self.request.get("owner", ""))

    @property
    def ended(self) -> bool:
        """Whether no worker is at it."""
        return self.status != "running"

    @property
    def seconds_left(self) -> float | None:
        """What the rest of this phase takes at its pace so far, None while that cannot be told."""
        done = self.share - self.first_share
        return self.seconds / done * (1 - self.share) if done > FORECAST_FROM * (1 - self.first_share) else None

    @property
    def pace(self) -> float:
        """Which share of this phase was done in a second, so far."""
        return (self.share - self.first_share) / self.seconds if self.seconds else 0.0


class JobFolders:
    """`<root>/<id>/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        make_folder(root)

    def start(self, request: Mapping[str, Any], worker: str, environment: Mapping[str, str] | None = None) -> str:
        """Write down what is wanted, start its worker (as `launch`) and return the job's id. Raises UserError `disk_full`, …"""
        with self._written(request) as (folder, lock):
            _start_worker(folder, worker, lock, environment)
            return folder.name

    def create(self, request: Mapping[str, Any]) -> str:
        """Write down what is wanted and return the job's id; until its launch it counts as broken off. Raises UserError `disk_full`."""
        with self._written(request) as (folder, _):
            return folder.name

    @contextmanager
    def _written(self, request: Mapping[str, Any]) -> Iterator[tuple[Path, ProcessLock]]:
        """Give a new job's folder and its lock, held before anybody sees the folder: others would think that its worker died."""
        folder = self.root / new_id()
        with staged_folder(self.root) as staged:
            write_json(staged / REQUEST, {**request, "folder": str(folder), "created_at": time.time()})
            lock = ProcessLock(staged / LOCK)
            lock.acquire()
            try:
                put_in_place(staged, folder)
                yield folder, lock
            finally:
                lock.release()

    def folder(self, job_id: str) -> Path:
        """Return a job's folder. Raises UserError `job_unknown`."""
        path = resolve_under(self.root, job_id)
        if not (path / REQUEST).is_file():
            raise UserError("job_unknown", job=job_id)
        return path

    def ids(self) -> list[str]:
        """Return the ids of all that lie there, readable or not."""
        return sorted(path.name for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))

    def readable(self, read: Callable[[Path], T]) -> list[T]:
        """Return what is read of each job, newest first; one whose files are damaged is left out."""
        found = []
        for folder in self.all():
            with suppress(UserError):
                found.append(read(folder))
        return found

    def all(self) -> list[Path]:
        """Return the jobs' folders, newest first."""
        return sorted((p for p in self.root.glob("[!.]*") if (p / REQUEST).is_file()), reverse=True)

    def delete(self, job_id: str) -> None:
        """Delete what is known of an ended job. Raises UserError `job_unknown`, `job_running`."""
        folder = self.folder(job_id)
        if is_held(folder / LOCK):
            raise UserError("job_running", job=job_id)
        with worded(folder):
            drop_whole(folder)


def at_work(data_dir: Path) -> Iterator[tuple[Job, list[str]]]:
    """Yield each running job of every shelf, with all words of its request: paths of what it works with among them."""
    for shelf in (JOBS, EVALUATIONS):
        yield from ((job, list(_texts(job.request))) for job in map(read_job, JobFolders(data_dir / shelf).all()) if not job.ended)


def used_by_jobs(data_dir: Path) -> Callable[[Path], bool]:
    """Return what tells whether a running job was given a path, or one inside of it."""
    given = [Path(text) for _, texts in at_work(data_dir) for text in texts if text.startswith("/")]
    return lambda path: any(each == path or path in each.parents for each in given)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def kind_of(folder: Path) -> str:
    """Return a job's kind without reading what it made, nothing of one that cannot be read."""
    try:
        return str(read_request(folder).get("kind", ""))
    except UserError:
        return ""


def read_job(folder: Path) -> Job:
    """Return how far a job is; one whose files are damaged has failed, with what is wrong as its error."""
    request: dict[str, Any] = {}
    end: dict[str, Any] = {}
    told: dict[str, Any] = {}
    status, damage = "failed", None
    try:
        request = read_request(folder)
        found, end = read_status(folder)
        told = read_part(folder, PROGRESS)
        status = found
    except UserError as error:
        damage = error
    share, first_share, seconds = (_as_number(told.get(name)) for name in ("share", "first_share", "seconds"))
    return Job(
        id=folder.name, kind=str(request.get("kind", "")), request=request, status=status,
        phase=str(told.get("phase", "")), share=share, seconds=seconds, result=end.get("result") or {}, error=damage or error_of(end),
        created_at=_as_number(request.get("created_at")) or folder.stat().st_mtime, folder=folder, first_share=first_share,
    )  # fmt: skip


def read_request(folder: Path) -> dict[str, Any]:
    """Return what is wanted of a job. Raises UserError `store_file_unreadable`."""
    request = read_part(folder, REQUEST)
    if not isinstance(request.get("created_at"), int | float):
        raise UserError("store_file_unreadable", file=REQUEST, folder=folder.name, reason="created_at")
    return request


def read_part(folder: Path, name: str) -> dict[str, Any]:
    """Return one record of a job, nothing where there is none. Raises UserError `store_file_unreadable`."""
    try:
        record = read_json(folder / name)
    except FileNotFoundError:
        return {}
    if not isinstance(record, dict):
        raise UserError("store_file_unreadable", file=name, folder=folder.name, reason=type(record).__name__)
    return record


def _as_number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def read_status(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return `running`, how the job ended, or `stopped` when its worker died; and the record of its end.

    Raises UserError `store_file_unreadable`.
    """
    lives = is_held(folder / LOCK)  # first: a worker writes its end before it gives the lock back
    end = read_part(folder, END)
    return "running" if lives else str(end.get("status", "stopped")), end


def error_of(end: Mapping[str, Any]) -> UserError | None:
    """Return what went wrong."""
    error = end.get("error")
    return UserError(str(error.get("code")), **error.get("facts", {})) if isinstance(error, dict) else None


def launch(folder: Path, worker: str, environment: Mapping[str, str] | None = None) -> None:
    """Start the worker of a job that has none, with what it needs of our environment.

    Raises UserError `job_running`, `disk_full`, `file_not_writable`.
    """
    lock = ProcessLock(folder / LOCK)
    if not lock.acquire():
        raise UserError("job_running", job=folder.name)
    try:
        sweep_leftovers(folder)
        with worded(folder / LOG):
            for name in (END, CANCEL, PROGRESS):
                (folder / name).unlink(missing_ok=True)
        _start_worker(folder, worker, lock, environment)
    finally:
        lock.release()


def _start_worker(folder: Path, worker: str, lock: ProcessLock, environment: Mapping[str, str] | None) -> None:
    with worded(folder / LOG), (folder / LOG).open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", worker, str(folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=worker_environment(os.environ) | dict(environment or {}), start_new_session=True, pass_fds=(lock.descriptor(),),
        )  # fmt: skip
    threading.Thread(target=child.wait, name="tunesmith-job-waiter", daemon=True).start()  # reaps it


def cancel(folder: Path) -> None:
    """Ask the worker to end at its next step. Raises UserError `disk_full`."""
    with worded(folder / CANCEL):
        (folder / CANCEL).touch()
