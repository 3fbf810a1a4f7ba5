"""Arenas: a folder each with who takes part and how they answer, and the votes as lines that are only ever added. Knows no models.

`<data dir>/arena/<id>/arena.json` never changes, `labels.json` is what people call it, `votes.jsonl` is written under a lock of its own,
so several people may vote at once.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from tunesmith.errors import UserError
from tunesmith.store.files import AppendLog, LineTail, make_folder, put_in_place, read_json, staged_folder, write_json
from tunesmith.store.ids import new_id
from tunesmith.store.labels import read_labels, set_name
from tunesmith.store.locks import exclusively
from tunesmith.store.trash import bring_back, owner_in, purge_older, throw_away
from tunesmith.system.paths import resolve_under

RECORD, VOTES = "arena.json", "votes.jsonl"


@dataclass(frozen=True)
class ArenaRecord:
    """Who takes part (key and name of each), how many of them answer at once, and what they are told."""

    id: str
    name: str
    created_at: float
    variants: dict[str, str]
    at_once: int
    system: str
    sampling: dict[str, Any]
    owner: str = ""


class ArenaStore:
    """All arenas under one data folder, with a trash."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / "arena"
        self._locks = data_dir / "locks"
        self._trash = self.root / ".trash"
        make_folder(self._trash)

    def create(
        self, name: str, variants: dict[str, str], at_once: int, system: str, sampling: dict[str, Any], owner: str = ""
    ) -> ArenaRecord:  # fmt: skip
        """Write a new arena as a whole. Raises UserError `name_empty`, `name_too_long`, `disk_full`."""
        arena_id = new_id()
        record = ArenaRecord(arena_id, " ".join(name.split()), time.time(), variants, at_once, system, sampling, owner)
        with staged_folder(self.root) as folder:
            set_name(folder, name)
            write_json(folder / RECORD, asdict(record))
            put_in_place(folder, self.root / arena_id)
        return record

    def _folder(self, arena_id: str) -> Path:
        path = resolve_under(self.root, arena_id)
        if not path.is_dir():
            raise UserError("arena_unknown", arena=arena_id)
        return path

    def get(self, arena_id: str) -> ArenaRecord:
        """Return an arena's record. Raises UserError `arena_unknown`, `store_file_unreadable`."""
        folder = self._folder(arena_id)
        try:
            record = msgspec.convert(read_json(folder / RECORD), ArenaRecord)
        except (FileNotFoundError, msgspec.ValidationError) as error:
            raise UserError("store_file_unreadable", file=RECORD, folder=arena_id, reason=str(error)) from error
        return ArenaRecord(**(asdict(record) | {"name": read_labels(folder).get("name") or record.name}))

    def ids(self) -> list[str]:
        """Return the ids of all that lie there, readable or not."""
        return sorted(path.name for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))

    def all(self) -> tuple[list[ArenaRecord], list[str]]:
        """Return the readable records, newest first, and the ids of the others."""
        found, broken = [], []
        for arena_id in self.ids():
            try:
                found.append(self.get(arena_id))
            except UserError:
                broken.append(arena_id)
        return sorted(found, key=lambda record: record.created_at, reverse=True), sorted(broken)

    def rename(self, arena_id: str, name: str) -> None:
        """Give an arena another name. Raises UserError `arena_unknown`, `name_empty`, `name_too_long`."""
        set_name(self._folder(arena_id), name)

    def append(self, arena_id: str, line: dict[str, Any]) -> None:
        """Add a line to the votes; it lies on the drive afterwards. Raises UserError `arena_unknown`, `disk_full`."""
        with exclusively(self._lock(arena_id)):
            log = AppendLog(self._folder(arena_id) / VOTES)
            try:
                log.append(line)
            finally:
                log.close()

    def lines(self, arena_id: str) -> tuple[list[dict[str, Any]], int]:
        """Return the whole lines of the votes, and how many could not be read. Raises UserError `arena_unknown`."""
        tail = LineTail(self._folder(arena_id) / VOTES)
        return list(tail.read_new()), tail.bad_lines

    def owner(self, arena_id: str) -> str:
        """Return who owns an arena, here or in the trash; nothing for an old or a broken one. Raises UserError `name_not_allowed`."""
        path = resolve_under(self.root, arena_id)
        return owner_in((path if path.exists() else self._trash / path.name) / RECORD)

    def trash(self, arena_id: str) -> None:
        """Move an arena with its votes to the trash. Raises UserError `arena_unknown`."""
        with exclusively(self._lock(arena_id)):
            throw_away(self._folder(arena_id), self._trash)

    def restore(self, arena_id: str) -> None:
        """Bring an arena back. Raises UserError `arena_unknown`, `target_exists`."""
        path = resolve_under(self._trash, arena_id)
        if not path.is_dir():
            raise UserError("arena_unknown", arena=arena_id)
        bring_back(path, self.root / arena_id)

    def purge_trash(self) -> None:
        """Delete what has been in the trash for more than 7 days."""
        purge_older(self._trash)

    def _lock(self, arena_id: str) -> Path:
        self._folder(arena_id)  # no lock file for a name that is none
        return self._locks / f"arena-{arena_id}.lock"
