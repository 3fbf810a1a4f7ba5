"""Folders that are written as a whole: beside their place, then renamed; those of runs with a manifest (size, SHA-256). Knows no tensors.

A kill leaves `.NAME.PID.new` (not whole), `.old` (the one that was being replaced) or `.gone` (being deleted): `settle` puts them in order.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from tunesmith.errors import UserError
from tunesmith.store.files import as_user_error, flush_to_disk, put_in_place, read_json, sha256_of, write_all

MANIFEST = "MANIFEST.json"
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.\d+\.(?:new|old|gone)")


@contextmanager
def replaced_whole(target: Path) -> Iterator[Path]:
    """Give an empty folder to write into; at the end it gets its manifest and takes the place of `target`.

    Raises UserError `disk_full`, `no_permission`, `file_not_writable`; then the old folder is as it was.
    """
    with folder_beside(target) as aside:
        yield aside
        write_flushed(aside / MANIFEST, orjson.dumps(_describe(aside), option=orjson.OPT_INDENT_2))
        exchange(aside, target)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a folder to write into; it is renamed to `target` at the end, and gone when anything went wrong.

    Raises UserError `target_exists`, `disk_full`.
    """
    with folder_beside(target) as aside:
        require_free(target)
        yield aside
        require_free(target)
        put_in_place(aside, target)


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a path beside `target`, which becomes `target` when all went well. Raises UserError `target_exists`, `disk_full`."""
    require_free(target)
    aside = _beside(target, "new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        put_in_place(aside, target)
    except OSError as error:
        raise as_user_error(error, target) from error
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target`; what was not moved away is deleted. Raises UserError `disk_full`, `no_permission`, …"""
    aside = _beside(target, "new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        yield aside
    except OSError as error:
        raise as_user_error(error, target) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def require_free(target: Path) -> None:
    """Refuse a place that is taken. Raises UserError `target_exists`."""
    if target.exists():
        raise UserError("target_exists", name=target.name, folder=str(target.parent))


def exchange(aside: Path, target: Path) -> None:
    """Put a finished folder in the place of an old one, which comes back when that fails. Raises OSError."""
    old = _beside(target, "old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    try:
        put_in_place(aside, target)
    except OSError:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_flushed(path: Path, data: bytes) -> None:
    """Write a new file and wait until it lies on the drive. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_all(descriptor, data)
        flush_to_disk(descriptor)
    finally:
        os.close(descriptor)


def drop_whole(folder: Path) -> None:
    """Delete a folder: it is gone at once, so that a kill leaves no part of it under its name."""
    aside = _beside(folder, "gone")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def settle(parent: Path) -> None:
    """Put in order what killed writers left in a folder; only for whoever knows that none of them lives.

    A replacement that was broken off between its two renames is completed; all else that is hidden and theirs is deleted.
    """
    for old in parent.glob(".*.old"):
        place = _LEFTOVER.fullmatch(old.name)
        if place and not (target := parent / place["name"]).exists():
            new = old.with_suffix(".new")
            (new if (new / MANIFEST).exists() else old).rename(target)
    for left in parent.glob(".*"):
        if _LEFTOVER.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)


def verify_folder(folder: Path) -> None:
    """Check a saved folder against its manifest. Raises UserError `saved_folder_damaged` naming the file."""
    try:
        files = {str(name): (facts["size_bytes"], facts["sha256"]) for name, facts in read_json(folder / MANIFEST)["files"].items()}
    except (FileNotFoundError, UserError, KeyError, TypeError, AttributeError) as error:
        raise UserError("saved_folder_damaged", folder=folder.name, file=MANIFEST) from error
    for name, (size_bytes, digest) in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size_bytes or sha256_of(path) != digest:
            raise UserError("saved_folder_damaged", folder=folder.name, file=name)


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.{kind}")


def _describe(folder: Path) -> dict[str, Any]:
    files = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as stream:
            flush_to_disk(stream.fileno())
        files[path.name] = {"size_bytes": path.stat().st_size, "sha256": sha256_of(path)}
    return {"v": 1, "files": files}
