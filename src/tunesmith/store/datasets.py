"""Data sets that people brought: a folder each, written as a whole, thrown into a trash. Knows no formats."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.store.files import as_user_error, read_json, write_atomic, write_json
from tunesmith.system.paths import resolve_under


class DatasetStore:
    """`<data dir>/datasets/<id>/` with `dataset.json` and one file per split."""

    def __init__(self, root: Path) -> None:
        self.root = root / "datasets"
        self._trash = self.root / ".trash"
        self._trash.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, files: dict[str, bytes], facts: dict[str, Any]) -> str:
        """Write a new data set as a whole and return its id, made from the name. Raises UserError `disk_full`."""
        dataset_id = self._free_id(name)
        aside = self.root / f".{dataset_id}.new"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir()
            for file_name, content in files.items():
                write_atomic(aside / file_name, content)
            write_json(aside / "dataset.json", {"name": dataset_id, "added_at": time.time(), **facts})
            aside.rename(self.root / dataset_id)
        except OSError as error:
            raise as_user_error(error, aside) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return dataset_id

    def _free_id(self, name: str) -> str:
        base = re.sub(r"[^\w-]+", "-", Path(name).stem, flags=re.UNICODE).strip("-_").lower()[:60] or "data"
        candidate, number = base, 2
        while (self.root / candidate).exists():
            candidate, number = f"{base}-{number}", number + 1
        return candidate

    def folders(self) -> list[Path]:
        """Return the data sets' folders, by name."""
        return sorted(p for p in self.root.iterdir() if p.is_dir() and not p.name.startswith("."))

    def trash(self, dataset_id: str) -> None:
        """Move a data set to the trash. Raises UserError `dataset_unknown`."""
        path = resolve_under(self.root, dataset_id)
        if not path.is_dir():
            raise UserError("dataset_unknown", dataset=dataset_id)
        target = self._trash / dataset_id
        shutil.rmtree(target, ignore_errors=True)
        path.rename(target)

    def restore(self, dataset_id: str) -> None:
        """Bring a data set back. Raises UserError `dataset_unknown`, `dataset_exists`."""
        path = resolve_under(self._trash, dataset_id)
        if not path.is_dir():
            raise UserError("dataset_unknown", dataset=dataset_id)
        if (self.root / dataset_id).exists():
            raise UserError("dataset_exists", dataset=dataset_id)
        path.rename(self.root / dataset_id)


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what `dataset.json` says, nothing when it is absent or broken."""
    try:
        facts = read_json(folder / "dataset.json")
    except (FileNotFoundError, UserError):
        return {}
    return facts if isinstance(facts, dict) else {}
