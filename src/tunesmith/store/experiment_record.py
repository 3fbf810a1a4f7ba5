"""A run's record: its facts, its states and the legal steps between them, and how it is read. Knows one run's files, no list."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tunesmith.errors import UserError
from tunesmith.store.migrations import SCHEMA_VERSION, migrate
from tunesmith.store.run_folder import RunFolder

TERMINAL = frozenset({"completed", "failed", "cancelled", "interrupted", "paused"})
RESUMABLE = TERMINAL - {"completed"}
OCCUPYING = frozenset({"starting", "running", "stopping"})
ACTIVE = OCCUPYING | {"queued"}
STATUSES = ACTIVE | TERMINAL
TRANSITIONS: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"starting", "cancelled", "failed"}),
    "starting": frozenset({"running", "stopping"}) | TERMINAL,
    "running": frozenset({"stopping"}) | TERMINAL,
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
    nonce: str = ""
    pid: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0
    error: dict[str, Any] | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION


def read_record(folder: RunFolder) -> Experiment:
    """Return a run's record; the run's id is the name of its folder, also of one that was copied.

    Raises UserError `store_file_unreadable`, `store_too_new`.
    """
    try:
        record = orjson.loads(folder.record.read_bytes())
        known = {f.name for f in dataclasses.fields(Experiment)}
        migrated = migrate(record, "experiment.json") | {"id": folder.path.name}
        experiment = Experiment(**{name: value for name, value in migrated.items() if name in known})
        if experiment.status not in STATUSES or not isinstance(experiment.created_at, int | float):
            raise TypeError("status or created_at")
        if not isinstance(experiment.summary, dict):
            raise TypeError("summary")
        return experiment
    except FileNotFoundError as error:
        raise UserError("store_file_unreadable", file="experiment.json", folder=folder.path.name, reason="missing") from error
    except (orjson.JSONDecodeError, TypeError, AttributeError, OSError) as error:
        raise UserError("store_file_unreadable", file="experiment.json", folder=folder.path.name, reason=str(error)) from error
