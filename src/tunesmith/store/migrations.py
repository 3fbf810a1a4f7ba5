"""Numbered, pure steps from an older record to today's. A newer record than we know is left alone (the store opens read-only)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunesmith.errors import UserError

SCHEMA_VERSION = 1
Migration = Callable[[dict[str, Any]], dict[str, Any]]
MIGRATIONS: dict[int, Migration] = {}  # version n -> the step that makes n + 1


def migrate(record: dict[str, Any], file: str) -> dict[str, Any]:
    """Return the record in today's schema. Raises UserError `store_too_new`, `store_file_unreadable`."""
    version = record.get("schema_version") if isinstance(record, dict) else None
    if not isinstance(version, int) or (version < SCHEMA_VERSION and version not in MIGRATIONS):
        raise UserError("store_file_unreadable", file=file, folder="", reason="schema_version")
    if version > SCHEMA_VERSION:
        raise UserError("store_too_new", file=file, version=version, known=SCHEMA_VERSION)
    while version < SCHEMA_VERSION:
        record = MIGRATIONS[version](record)
        version += 1
        record["schema_version"] = version
    return record
