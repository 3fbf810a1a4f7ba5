"""Adapters that no run of this store made, brought or fused: a folder each, written as a whole, with a trash; and what people call any.

`<data dir>/adapters/<id>/record.json` tells where it comes from, `adapter/` holds it, `labels.json` is the pages'. Knows no models.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tunesmith.errors import UserError
from tunesmith.store.files import make_folder, put_in_place, read_json, staged_folder, worded, write_json
from tunesmith.store.labels import read_labels
from tunesmith.store.trash import bring_back, owner_in, purge_older, throw_away
from tunesmith.system.paths import as_file_name, resolve_under

RECORD = "record.json"


@dataclass(frozen=True)
class AdapterRecord:
    """Where an adapter comes from: `origin` is imported or fused; `lineage` tells from what and how."""

    id: str
    name: str
    origin: str
    model: str
    model_path: str
    created_at: float
    lineage: dict[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """Who brought or fused it; nothing for an old one."""
        return str(self.lineage.get("owner", ""))


class AdapterStore:
    """All adapters under one data folder that are not a run's own."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / "adapters"
        self._trash = self.root / ".trash"
        make_folder(self._trash)

    def staging(self) -> AbstractContextManager[Path]:
        """Give an empty folder to write an adapter into; what was not taken over is deleted. Raises UserError `disk_full`."""
        return staged_folder(self.root)

    def add(self, staged: Path, name: str, origin: str, model: str, model_path: Path, lineage: dict[str, Any]) -> AdapterRecord:
        """Take over a staged folder that holds `adapter/`. Raises UserError `disk_full`."""
        base, number = as_file_name(name, "adapter"), 1
        while True:
            adapter_id = base if number == 1 else f"{base}-{number}"
            record = AdapterRecord(adapter_id, name, origin, model, str(model_path), time.time(), lineage)
            write_json(staged / RECORD, record.__dict__)
            if not any((folder / adapter_id).exists() for folder in (self.root, self._trash)):  # who was thrown away may come back
                with worded(self.root / adapter_id):
                    put_in_place(staged, self.root / adapter_id)
                return record
            number += 1

    def folder(self, adapter_id: str) -> Path:
        """Return an adapter's folder. Raises UserError `adapter_unknown`, `name_not_allowed`."""
        path = resolve_under(self.root, adapter_id)
        if not path.is_dir():
            raise UserError("adapter_unknown", adapter=adapter_id)
        return path

    def get(self, adapter_id: str) -> AdapterRecord:
        """Return an adapter's record. Raises UserError `adapter_unknown`, `store_file_unreadable`."""
        folder = self.folder(adapter_id)
        try:
            record = msgspec.convert(read_json(folder / RECORD), AdapterRecord)
        except (FileNotFoundError, msgspec.ValidationError) as error:
            raise UserError("store_file_unreadable", file=RECORD, folder=adapter_id, reason=str(error)) from error
        labels = read_labels(folder)
        return AdapterRecord(**(record.__dict__ | {"name": labels.get("name") or record.name}))

    def ids(self) -> list[str]:
        """Return the ids of all that lie there, readable or not."""
        return sorted(path.name for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))

    def all(self) -> list[AdapterRecord]:
        """Return the readable records, newest first."""
        found = []
        for adapter_id in self.ids():
            try:
                found.append(self.get(adapter_id))
            except UserError:
                continue
        return sorted(found, key=lambda record: record.created_at, reverse=True)

    def owner(self, adapter_id: str) -> str:
        """Return who owns an adapter, here or in the trash; nothing for an old or a broken one. Raises UserError `name_not_allowed`."""
        path = resolve_under(self.root, adapter_id)
        return owner_in((path if path.exists() else self._trash / path.name) / RECORD, "lineage")

    def trash(self, adapter_id: str) -> None:
        """Move an adapter to the trash. Raises UserError `adapter_unknown`."""
        throw_away(self.folder(adapter_id), self._trash)

    def purge_trash(self) -> None:
        """Delete what has been in the trash for more than 7 days."""
        purge_older(self._trash)

    def restore(self, adapter_id: str) -> None:
        """Bring an adapter back. Raises UserError `adapter_unknown`, `target_exists`."""
        path = resolve_under(self._trash, adapter_id)
        if not path.is_dir():
            raise UserError("adapter_unknown", adapter=adapter_id)
        bring_back(path, self.root / adapter_id)
