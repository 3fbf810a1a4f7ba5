"""Experiments: records, legal transitions, trash. Knows no processes and no training.

Only the supervisor changes a record after its creation; pages and command line put requests in the run's mailbox.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tunesmith.errors import UserError
from tunesmith.store.files import copy_into, purge_older, read_json, sha256_of, write_atomic, write_json
from tunesmith.store.labels import change_labels, read_labels, set_name
from tunesmith.store.migrations import SCHEMA_VERSION, migrate
from tunesmith.store.run_folder import RunFolder
from tunesmith.system.paths import resolve_under

TERMINAL = frozenset({"completed", "failed", "cancelled", "interrupted", "paused"})
RESUMABLE = TERMINAL - {"completed"}
OCCUPYING = frozenset({"starting", "running", "stopping"})
ACTIVE = OCCUPYING | {"queued"}
TRANSITIONS: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"starting", "cancelled", "failed"}),
    "starting": frozenset({"running", "stopping"}) | TERMINAL,
    "running": frozenset({"stopping"}) | TERMINAL,
    "stopping": TERMINAL,
    **{status: frozenset({"queued"}) for status in RESUMABLE},
}
TRASH_DAYS = 7


@dataclass(frozen=True)
class Experiment:
    """One run's record. Times are unix seconds, `duration_seconds` is by a monotonic clock."""

    id: str
    name: str
    kind: str
    method: str
    model: str
    data: str
    model_path: str
    data_path: str
    config_sha256: str
    created_at: float
    status: str = "queued"
    rev: int = 0
    attempt: int = 0
    owner: str = ""
    group: str = ""
    continued_from: str = ""
    nonce: str = ""
    pid: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0
    error: dict[str, Any] | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION


class ExperimentStore:
    """All experiments under one data folder (mode 0700, on a local volume)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.experiments = root / "experiments"
        self.trash_folder = root / ".trash"
        self.locks = root / "locks"
        for folder in (root, self.experiments, self.trash_folder, self.locks):
            _make_private(folder)
        self._cache: dict[Path, tuple[tuple[int, int, int], Experiment]] = {}
        self._cache_lock = threading.Lock()
        self.store_id = self._open_store_file()

    def _open_store_file(self) -> str:
        path = self.root / "store.json"
        if not path.exists():
            write_json(path, {"schema_version": SCHEMA_VERSION, "store_id": secrets.token_hex(8)})
        return str(migrate(read_json(path), path.name)["store_id"])

    def folder(self, run_id: str) -> RunFolder:
        """Return the files of a run. Raises UserError `run_unknown`, `name_not_allowed`."""
        path = resolve_under(self.experiments, run_id)
        if not path.is_dir():
            raise UserError("run_unknown", run=run_id)
        return RunFolder(path)

    def create(
        self, config_yaml: str, begin_from: RunFolder | None = None, attachments: Mapping[str, Path] | None = None, **facts: Any
    ) -> Experiment:
        """Write a queued experiment as a whole: the folder is made aside and renamed. Raises UserError `disk_full`.

        `begin_from` is a run from whose newest checkpoint this one goes on; `attachments` are files and folders to copy into it, by name.
        """
        run_id = time.strftime("%Y%m%d-%H%M%S-", time.localtime()) + secrets.token_hex(3)
        aside = self.experiments / f".{run_id}.new"
        try:
            aside.mkdir(mode=0o700)
            write_atomic(aside / "config.yaml", config_yaml.encode())
            if begin_from:
                begin_from.copy_state(aside)
            for name, source in (attachments or {}).items():
                copy_into(source, aside / name)
            now = time.time()
            experiment = Experiment(
                id=run_id, created_at=now, config_sha256=sha256_of(aside / "config.yaml"),
                history=[{"status": "queued", "at": now}], **facts,
            )  # fmt: skip
            write_json(aside / "experiment.json", dataclasses.asdict(experiment))
            aside.rename(self.experiments / run_id)
        except (OSError, UserError):
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return experiment

    def get(self, run_id: str) -> Experiment:
        """Return a run's record. Raises UserError `run_unknown`, `store_file_unreadable`, `store_too_new`."""
        return self._read(self.folder(run_id))

    def _read(self, folder: RunFolder) -> Experiment:
        try:
            state = folder.record.stat()
        except FileNotFoundError as error:
            raise UserError("store_file_unreadable", file="experiment.json", folder=folder.path.name, reason="missing") from error
        stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
        with self._cache_lock:
            known = self._cache.get(folder.record)
        if known and known[0] == stamp:
            return known[1]
        experiment = _parse(folder)
        with self._cache_lock:
            self._cache[folder.record] = (stamp, experiment)
        return experiment

    def all(self) -> tuple[list[Experiment], list[str]]:
        """Return the readable records, newest first, and the ids whose record is unreadable: one bad run never hides the list."""
        readable: list[Experiment] = []
        unreadable: list[str] = []
        for entry in os.scandir(self.experiments):
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            try:
                readable.append(self._read(RunFolder(Path(entry.path))))
            except (UserError, OSError):
                unreadable.append(entry.name)
        return sorted(readable, key=lambda e: (e.created_at, e.id), reverse=True), sorted(unreadable)

    def change(self, experiment: Experiment, **changes: Any) -> Experiment:
        """Write changed facts of a run (supervisor only)."""
        changed = dataclasses.replace(experiment, rev=experiment.rev + 1, **changes)
        write_json(self.folder(experiment.id).record, dataclasses.asdict(changed))
        return changed

    def transition(self, experiment: Experiment, status: str, **changes: Any) -> Experiment:
        """Move a run to a legal next status (supervisor only). Raises ValueError on an illegal one."""
        if status not in TRANSITIONS.get(experiment.status, frozenset()):
            raise ValueError(f"{experiment.id}: {experiment.status} cannot become {status}")
        history = [*experiment.history, {"status": status, "at": time.time()}]
        return self.change(experiment, status=status, history=history, **changes)

    def display_name(self, experiment: Experiment) -> str:
        """Return what people call the run."""
        return str(read_labels(self.folder(experiment.id).path).get("name") or experiment.name)

    def queue_place(self, experiment: Experiment) -> tuple[int, float]:
        """Return the run's priority (higher goes first) and its rank among equals, by default when it was queued."""
        labels = read_labels(self.folder(experiment.id).path)
        try:
            return int(labels.get("priority", 0)), float(labels.get("rank", experiment.created_at))
        except (TypeError, ValueError):
            return 0, experiment.created_at

    def set_queue_place(self, run_id: str, priority: int, rank: float) -> None:
        """Give a run another place in the queue."""
        change_labels(self.folder(run_id).path, priority=priority, rank=rank)

    def rename(self, run_id: str, name: str) -> None:
        """Give a run another name. Raises UserError `name_empty`, `name_too_long`."""
        set_name(self.folder(run_id).path, name)

    def trash(self, run_id: str) -> None:
        """Move an ended run to the trash, where it stays for 7 days. Raises UserError `run_still_active`."""
        folder = self.folder(run_id)
        try:
            active = self._read(folder).status in ACTIVE
        except UserError:
            active = False  # an unreadable run may be thrown away
        if active:
            raise UserError("run_still_active", run=run_id)
        folder.path.rename(self.trash_folder / run_id)
        os.utime(self.trash_folder / run_id)

    def restore(self, run_id: str) -> None:
        """Bring a run back from the trash. Raises UserError `run_unknown`."""
        path = resolve_under(self.trash_folder, run_id)
        if not path.is_dir():
            raise UserError("run_unknown", run=run_id)
        path.rename(self.experiments / run_id)

    def trashed(self) -> list[Experiment]:
        """Return the readable runs in the trash, newest first."""
        found = []
        for path in self.trash_folder.iterdir():
            try:
                found.append(_parse(RunFolder(path)))
            except (UserError, OSError):
                continue
        return sorted(found, key=lambda e: e.created_at, reverse=True)

    def purge_trash(self) -> None:
        """Delete what has been in the trash for more than 7 days."""
        purge_older(self.trash_folder, TRASH_DAYS)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except FileExistsError as error:
        raise UserError("data_folder_is_file", folder=str(folder)) from error
    except OSError as error:
        raise UserError("data_folder_not_writable", folder=str(folder)) from error


def _parse(folder: RunFolder) -> Experiment:
    try:
        record = orjson.loads(folder.record.read_bytes())
        known = {f.name for f in dataclasses.fields(Experiment)}
        migrated = migrate(record, "experiment.json")
        return Experiment(**{name: value for name, value in migrated.items() if name in known})
    except (orjson.JSONDecodeError, TypeError, AttributeError) as error:
        raise UserError("store_file_unreadable", file="experiment.json", folder=folder.path.name, reason=str(error)) from error
    except FileNotFoundError as error:
        raise UserError("store_file_unreadable", file="experiment.json", folder=folder.path.name, reason="missing") from error
