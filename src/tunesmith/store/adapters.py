"""Adapters that no run of this store made, brought or fused: a folder each, written as a whole, with a trash; and what people call any.

`<data dir>/adapters/<id>/record.json` tells where it comes from, `adapter/` holds it, `labels.json` is the pages'. Knows no models.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.store.files import purge_older, read_json, staged_folder, write_json
from tunesmith.store.labels import read_labels
from tunesmith.system.paths import as_file_name, resolve_under

RECORD, TRASH_DAYS = "record.json", 7


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


class AdapterStore:
    """All adapters under one data folder that are not a run's own."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / "adapters"
        self._trash = self.root / ".trash"
        self._trash.mkdir(parents=True, exist_ok=True)

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
            if not (self.root / adapter_id).exists():
                staged.rename(self.root / adapter_id)
                return record
            number += 1

    def folder(self, adapter_id: str) -> Path:
        """Return an adapter's folder. Raises UserError `adapter_unknown`, `name_not_allowed`."""
        path = resolve_under(self.root, adapter_id)
        if not (path / RECORD).is_file():
            raise UserError("adapter_unknown", adapter=adapter_id)
        return path

    def get(self, adapter_id: str) -> AdapterRecord:
        """Return an adapter's record. Raises UserError `adapter_unknown`, `store_file_unreadable`."""
        folder = self.folder(adapter_id)
        try:
            record = AdapterRecord(**read_json(folder / RECORD))
        except TypeError as error:
            raise UserError("store_file_unreadable", file=RECORD, folder=adapter_id, reason=str(error)) from error
        labels = read_labels(folder)
        return AdapterRecord(**(record.__dict__ | {"name": labels.get("name") or record.name}))

    def all(self) -> list[AdapterRecord]:
        """Return the readable records, newest first."""
        found = []
        for path in self.root.glob(f"*/{RECORD}"):
            try:
                found.append(self.get(path.parent.name))
            except UserError:
                continue
        return sorted(found, key=lambda record: record.created_at, reverse=True)

    def trash(self, adapter_id: str) -> None:
        """Move an adapter to the trash. Raises UserError `adapter_unknown`."""
        path = self.folder(adapter_id)
        target = self._trash / adapter_id
        shutil.rmtree(target, ignore_errors=True)
        path.rename(target)
        os.utime(target)

    def purge_trash(self) -> None:
        """Delete what has been in the trash for more than 7 days."""
        purge_older(self._trash, TRASH_DAYS)

    def restore(self, adapter_id: str) -> None:
        """Bring an adapter back. Raises UserError `adapter_unknown`, `target_exists`."""
        path = resolve_under(self._trash, adapter_id)
        if not path.is_dir():
            raise UserError("adapter_unknown", adapter=adapter_id)
        if (self.root / adapter_id).exists():
            raise UserError("target_exists", name=adapter_id, folder=str(self.root))
        path.rename(self.root / adapter_id)
