"""Data sets that people brought: a folder each, in it one for each version, written as a whole, with a trash. Knows no formats."""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.store.files import make_folder, put_in_place, read_json, staged_folder, write_json
from tunesmith.store.trash import bring_back, owner_in, purge_older, throw_away
from tunesmith.system.paths import as_file_name, resolve_under


@dataclass(frozen=True)
class Version:
    """One state of a data set that never changes: its files' folder and the record of how it was made."""

    number: int
    path: Path
    record: dict[str, Any]

    @property
    def hash(self) -> str:
        """Return 12 hexadecimal digits that tell the content of all splits."""
        return content_hash(self.record.get("sha256_out", {}))


def content_hash(digests: Mapping[str, str]) -> str:
    """Return 12 hexadecimal digits that tell the content of all splits, from each split's SHA-256."""
    content = "".join(f"{name}:{digest};" for name, digest in sorted(digests.items()))
    return hashlib.sha256(content.encode()).hexdigest()[:12]


class DatasetStore:
    """`<data dir>/datasets/<id>/dataset.json` names the current version, `v<number>/` holds its splits and `version.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root / "datasets"
        self._trash = self.root / ".trash"
        make_folder(self._trash)

    def staging(self) -> AbstractContextManager[Path]:
        """Give an empty folder to write a version into; what was not taken over is deleted. Raises UserError `disk_full`."""
        return staged_folder(self.root)

    def create(self, name: str, staged: Path, record: dict[str, Any], facts: dict[str, Any], taken: Collection[str] = ()) -> str:
        """Make a new data set of a staged version; return its id, made from the name but none of `taken`. Raises UserError `disk_full`."""
        write_json(staged / "version.json", {**record, "number": 1, "parent": None, "made_at": time.time()})
        with self.staging() as folder:
            staged.rename(folder / "v1")
            base, number = as_file_name(Path(name).stem, "data"), 1
            while True:
                dataset_id = base if number == 1 else f"{base}-{number}"
                write_json(folder / "dataset.json", {"name": dataset_id, "added_at": time.time(), "current": 1, **facts})
                if dataset_id not in taken and not (self._trash / dataset_id).exists() and _moved(folder, self.root / dataset_id):
                    return dataset_id
                number += 1

    def add_version(self, dataset_id: str, staged: Path, record: dict[str, Any]) -> int:
        """Add a staged version, make it the current one and return its number. Raises UserError `dataset_unknown`, `disk_full`."""
        folder = self._folder(dataset_id)
        number = max((v.number for v in self.versions(dataset_id)), default=0) + 1
        parent = read_facts(folder).get("current")
        while True:
            write_json(staged / "version.json", {**record, "number": number, "parent": parent, "made_at": time.time()})
            if _moved(staged, folder / f"v{number}"):
                break
            number += 1
        self.set_current(dataset_id, number)
        return number

    def set_current(self, dataset_id: str, number: int) -> None:
        """Make a version the current one. Raises UserError `dataset_unknown`, `dataset_version_unknown`."""
        folder = self._folder(dataset_id)
        if not (folder / f"v{number}" / "version.json").is_file():
            raise UserError("dataset_version_unknown", dataset=dataset_id, version=number)
        write_json(folder / "dataset.json", {**read_facts(folder), "current": number})

    def versions(self, dataset_id: str) -> list[Version]:
        """Return the versions by number; none for a data set that was never imported but laid there as files."""
        found = []
        for path in self._folder(dataset_id).glob("v*/version.json"):
            record = _read_record(path)
            if record and path.parent.name == f"v{record.get('number')}":
                found.append(Version(int(record["number"]), path.parent, record))
        return sorted(found, key=lambda v: v.number)

    def _folder(self, dataset_id: str) -> Path:
        path = resolve_under(self.root, dataset_id)
        if not path.is_dir():
            raise UserError("dataset_unknown", dataset=dataset_id)
        return path

    def folders(self) -> list[Path]:
        """Return the data sets' folders, by name."""
        return sorted(p for p in self.root.iterdir() if p.is_dir() and not p.name.startswith("."))

    def trash(self, dataset_id: str) -> None:
        """Move a data set with all its versions to the trash. Raises UserError `dataset_unknown`."""
        throw_away(self._folder(dataset_id), self._trash)

    def owner(self, dataset_id: str) -> str:
        """Return who brought a data set, in its place or in the trash; nothing for an old one. Raises UserError `name_not_allowed`."""
        path = resolve_under(self.root, dataset_id)
        return owner_in((path if path.exists() else self._trash / path.name) / "dataset.json")

    def restore(self, dataset_id: str) -> None:
        """Bring a data set back. Raises UserError `dataset_unknown`, `dataset_exists`."""
        path = resolve_under(self._trash, dataset_id)
        if not path.is_dir():
            raise UserError("dataset_unknown", dataset=dataset_id)
        if (self.root / dataset_id).exists():
            raise UserError("dataset_exists", dataset=dataset_id)
        bring_back(path, self.root / dataset_id)

    def purge_trash(self) -> None:
        """Delete what has been in the trash for more than 7 days."""
        purge_older(self._trash)


def _moved(folder: Path, target: Path) -> bool:
    """Put a finished folder in its place unless there is one; return whether it was done. Raises OSError."""
    if target.exists():
        return False
    try:
        put_in_place(folder, target)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
            return False  # somebody was quicker
        raise
    return True


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = read_json(path)
    except (FileNotFoundError, UserError):
        return {}
    return record if isinstance(record, dict) else {}


def require_readable(folder: Path) -> None:
    """Refuse a data set whose `dataset.json` is damaged; plain files that were laid there have none. Raises UserError."""
    path = folder / "dataset.json"
    if (path.exists() or path.is_symlink()) and not isinstance(read_facts(folder).get("current"), int):
        raise UserError("store_file_unreadable", file=path.name, folder=folder.name, reason="current")


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what `dataset.json` says, nothing when it is absent or broken."""
    return _read_record(folder / "dataset.json")
