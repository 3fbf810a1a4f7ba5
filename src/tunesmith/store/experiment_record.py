"""A run's record: its facts, its states and the legal steps between them, and how it is read. Knows one run's files, no list."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tunesmith.errors import UserError
from tunesmith.store.files import read_json, write_atomic, write_json
from tunesmith.store.migrations import SCHEMA_VERSION, migrate
from tunesmith.store.run_folder import RunFolder

TERMINAL = frozenset({"completed", "failed", "cancelled", "interrupted", "paused"})
RESUMABLE = TERMINAL - {"completed"}
OCCUPYING = frozenset({"starting", "running", "stopping"})
ACTIVE = OCCUPYING | {"queued"}
STATUSES = ACTIVE | TERMINAL
TRANSITIONS: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"starting", "cancelled", "failed"}),
    "starting": frozenset({"running", "stopping", "queued"}) | TERMINAL,
    "running": frozenset({"stopping", "queued"}) | TERMINAL,  # queued: its worker died, and it goes on by itself
    "stopping": TERMINAL,
    **{status: frozenset({"queued"}) for status in RESUMABLE},
}


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
    imported: dict[str, Any] = field(default_factory=dict)
    rank: float = 0.0  # its place in the queue, greater than that of all who waited when it came; 0: of a time when there were no ranks
    nonce: str = ""
    restarts: list[int] = field(default_factory=list)  # steps from which it went on by itself since a person last sent it
    pid: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0
    error: dict[str, Any] | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION


def write_record(folder: RunFolder, experiment: Experiment) -> None:
    """Replace a run's record; one of an older schema stays beside it (`.bak`). Raises UserError `disk_full`."""
    if _is_older(folder):
        write_atomic(folder.record.with_name("experiment.json.bak"), folder.record.read_bytes())
    write_json(folder.record, dataclasses.asdict(experiment))


def _is_older(folder: RunFolder) -> bool:
    try:
        return bool(read_json(folder.record)["schema_version"] < SCHEMA_VERSION)
    except (UserError, FileNotFoundError, KeyError, TypeError):  # damaged, which is another matter
        return False


def read_record(folder: RunFolder) -> Experiment:
    """Return a run's record; the run's id is the name of its folder, also of one that was copied.

    Raises UserError `store_file_unreadable`, `store_too_new`.
    """
    try:
        migrated = migrate(read_json(folder.record), "experiment.json") | {"id": folder.path.name}
        experiment = msgspec.convert(migrated, Experiment)
        if experiment.status not in STATUSES:
            raise msgspec.ValidationError("status")
        return experiment
    except FileNotFoundError as error:
        raise UserError("store_file_unreadable", file="experiment.json", folder=folder.path.name, reason="missing") from error
    except msgspec.ValidationError as error:
        raise UserError("store_file_unreadable", file="experiment.json", folder=folder.path.name, reason=str(error)) from error
