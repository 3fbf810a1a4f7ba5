"""Generations of rows: a folder each, written by one worker process (`generation_worker`), read by pages. Knows no model.

`request.json` says what; `rows.jsonl` and `rejected.jsonl` grow by one line per question, so a killed worker goes on where it stood;
`end.json` tells how it ended; the lock tells whether a worker lives.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.store.files import LineTail, read_json, write_json
from tunesmith.store.locks import ProcessLock, is_held
from tunesmith.system.environment import worker_environment
from tunesmith.system.paths import resolve_under

REQUEST, ROWS, REJECTED, END, CANCEL, LOCK = "request.json", "rows.jsonl", "rejected.jsonl", "end.json", "cancel", "lock"
QUESTIONS_PER_ROW = 5  # a model that fails this often is not asked for ever
QUESTIONS_AT_LEAST = 20


@dataclass(frozen=True)
class Generation:
    """How far a generation is; `status` is running, stopped (can go on), completed, exhausted, cancelled or failed."""

    id: str
    request: dict[str, Any]
    status: str
    accepted: int
    rejected: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    error: UserError | None
    folder: Path

    @property
    def wanted(self) -> int:
        """How many rows are wanted."""
        return int(self.request["rules"]["count"])

    @property
    def seconds_left(self) -> float | None:
        """What the rest takes at the pace so far."""
        return self.seconds / self.accepted * (self.wanted - self.accepted) if self.accepted else None


class GenerationStore:
    """`<data dir>/generations/<id>/`."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / "generations"
        self.root.mkdir(parents=True, exist_ok=True)

    def create(self, request: Mapping[str, Any]) -> str:
        """Write down what is wanted and return the generation's id. Raises UserError `disk_full`."""
        generation_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        folder = self.root / generation_id
        folder.mkdir(mode=0o700)
        write_json(folder / REQUEST, {**request, "created_at": time.time()})
        return generation_id

    def folder(self, generation_id: str) -> Path:
        """Return a generation's folder. Raises UserError `generation_unknown`."""
        path = resolve_under(self.root, generation_id)
        if not (path / REQUEST).is_file():
            raise UserError("generation_unknown", generation=generation_id)
        return path

    def all(self) -> list[Generation]:
        """Return the generations, newest first."""
        folders = sorted((p for p in self.root.iterdir() if (p / REQUEST).is_file()), reverse=True)
        return [read_generation(folder) for folder in folders]

    def delete(self, generation_id: str) -> None:
        """Delete a generation that has ended. Raises UserError `generation_running`."""
        folder = self.folder(generation_id)
        if is_held(folder / LOCK):
            raise UserError("generation_running", generation=generation_id)
        shutil.rmtree(folder)


def read_generation(folder: Path) -> Generation:
    """Return how far a generation is."""
    rows, rejected = list(LineTail(folder / ROWS).read_new()), list(LineTail(folder / REJECTED).read_new())
    told = [row["provenance"] for row in rows] + rejected
    end = read_json(folder / END) if (folder / END).exists() else {}
    error = end.get("error")
    return Generation(
        id=folder.name, request=read_json(folder / REQUEST), status=_status(folder, end), accepted=len(rows),
        rejected=dict(Counter(line["code"] for line in rejected).most_common()), prompt_tokens=sum(t["prompt_tokens"] for t in told),
        completion_tokens=sum(t["completion_tokens"] for t in told), seconds=sum(t["seconds"] for t in told),
        error=UserError(error["code"], **error["facts"]) if error else None, folder=folder,
    )  # fmt: skip


def _status(folder: Path, end: Mapping[str, Any]) -> str:
    return "running" if is_held(folder / LOCK) else str(end.get("status", "stopped"))


def launch(folder: Path, key_variable: str = "") -> None:
    """Start the worker, or start it again; it gets the one key that it needs. Raises UserError `generation_running`."""
    lock = ProcessLock(folder / LOCK)
    if not lock.acquire():
        raise UserError("generation_running", generation=folder.name)
    try:
        for name in (END, CANCEL):
            (folder / name).unlink(missing_ok=True)
        key = {key_variable: os.environ[key_variable]} if key_variable and key_variable in os.environ else {}
        with (folder / "log.txt").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "tunesmith.jobs.generation_worker", str(folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=worker_environment(os.environ) | key, start_new_session=True, pass_fds=(lock.descriptor(),),
            )  # fmt: skip
    finally:
        lock.release()
    threading.Thread(target=child.wait, name="tunesmith-generation-waiter", daemon=True).start()  # reaps it


def cancel(folder: Path) -> None:
    """Ask the worker to end after the present question; what was accepted stays."""
    (folder / CANCEL).touch()
