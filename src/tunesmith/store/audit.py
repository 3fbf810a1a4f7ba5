"""Who did what, a line each: bounded, added to by threads and processes in turns. Knows no roles and no words.

`<data dir>/audit.jsonl`; when that is full it becomes `audit.1.jsonl`, in place of the one before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from tunesmith.store.files import AppendLog
from tunesmith.store.locks import exclusively

FULL_BYTES = 10_000_000
_READ_BYTES = 1_000_000  # far more than the lines that a page shows


class AuditLog:
    """The lines of one data folder."""

    def __init__(self, root: Path) -> None:
        self._path, self._older, self._lock = root / "audit.jsonl", root / "audit.1.jsonl", root / "locks" / "audit.lock"

    def note(self, person: str, role: str, action: str, facts: Mapping[str, str]) -> None:
        """Add a line; it lies on the drive afterwards. Raises UserError `disk_full`."""
        line = {"at": time.time(), "person": person, "role": role, "action": action, "facts": dict(facts)}
        with exclusively(self._lock):
            if _size(self._path) >= FULL_BYTES:
                self._path.replace(self._older)
            log = AppendLog(self._path)
            try:
                log.append(line)
            finally:
                log.close()

    def last(self, most: int) -> list[dict[str, Any]]:
        """Return the last lines, newest first; what is no record is left out."""
        found = _newest(self._path, most)
        return found if len(found) == most else found + _newest(self._older, most - len(found))

    def content(self) -> bytes:
        """Return all lines that are kept, oldest first."""
        with exclusively(self._lock):
            return b"".join(path.read_bytes() for path in (self._older, self._path) if path.exists())


def _newest(path: Path, most: int) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, _size(path) - _READ_BYTES))
            lines = stream.read().splitlines()
    except FileNotFoundError:
        return []
    found: list[dict[str, Any]] = []
    for line in reversed(lines):
        if len(found) == most:
            break
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue  # torn by a kill, or cut at the place where reading began
        if isinstance(record, dict) and "action" in record:
            found.append(record)
    return found


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
