"""Files that survive a kill at any moment: atomic replace, one-writer append, tail by offset. Knows no experiments."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tunesmith.errors import UserError
from tunesmith.system.scratch import was_left_by

LARGEST_RECORD_BYTES = 64_000_000  # far more than any record has: a larger one is none, and would fill the memory
_FSYNC_ON_MACOS = 51  # F_FULLFSYNC: on macOS, fsync alone does not flush the drive
_LEFTOVER = re.compile(r"\.(?:new-(?P<staged>\d+)-.+|.+\.(?P<written>\d+)\.(?:[0-9a-f]{8}\.tmp|gone|new))")


def flush_to_disk(descriptor: int) -> None:
    """Wait until the descriptor's data lies on the drive."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, _FSYNC_ON_MACOS)
    else:
        os.fsync(descriptor)


def flush_folder(folder: Path) -> None:
    """Make renames inside the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move(source: Path, target: Path) -> None:
    """Rename a file or folder; its new place is on the drive afterwards. Raises OSError."""
    source.rename(target)
    for folder in {target.parent, source.parent}:
        flush_folder(folder)


def put_in_place(staged: Path, target: Path) -> None:
    """Rename a file or folder that is finished; its content lies on the drive before its name does. Raises OSError."""
    if staged.is_file():
        _flush_file(staged)
    for parent, _, names in os.walk(staged):
        for name in names:
            _flush_file(Path(parent, name))
        flush_folder(Path(parent))
    move(staged, target)


def _flush_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flush_to_disk(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte: `os.write` may return short without an exception when the disk is full."""
    view = memoryview(data)
    while view:
        written = os.write(descriptor, view)
        if written == 0:
            raise OSError("the disk takes no more bytes")
        view = view[written:]


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file as a whole: readers see the old or the new one, never a part. Raises UserError `disk_full`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            write_all(descriptor, data)
            flush_to_disk(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise as_user_error(error, path) from error


def write_json(path: Path, record: Any) -> None:
    """`write_atomic` for a JSON record."""
    write_atomic(path, orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))


def read_json(path: Path, most_bytes: int = LARGEST_RECORD_BYTES) -> Any:
    """Return a JSON record. Raises UserError `store_file_unreadable`, FileNotFoundError."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise OSError("no file")  # reading a pipe would wait for ever
        if state.st_size > most_bytes:
            raise OSError(f"{state.st_size} bytes")
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except (orjson.JSONDecodeError, OSError) as error:
        raise UserError("store_file_unreadable", file=path.name, folder=path.parent.name, reason=str(error)) from error


def as_user_error(error: OSError, path: Path) -> UserError:
    """Word an operating system's refusal by code: `disk_full`, `no_permission` or `file_not_writable`."""
    if error.errno in {28, 27, 122}:  # ENOSPC, EFBIG, EDQUOT
        return UserError("disk_full", folder=str(path.parent))
    if error.errno in {1, 13, 30}:  # EPERM, EACCES, EROFS
        return UserError("no_permission", folder=str(path.parent))
    return UserError("file_not_writable", file=str(path), reason=error.strerror or str(error))


@contextmanager
def worded(path: Path) -> Iterator[None]:
    """Word what the operating system refuses to those who write inside. Raises UserError `disk_full`, `no_permission`, …"""
    try:
        yield
    except OSError as error:
        raise as_user_error(error, path) from error


def make_folder(folder: Path) -> None:
    """Make a folder for its owner alone, and those above it. Raises UserError `disk_full`, `no_permission`."""
    with worded(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)


@contextmanager
def staged_folder(root: Path) -> Iterator[Path]:
    """Give an empty folder under `root` to write into; what was not moved away is deleted. Raises UserError `disk_full`."""
    with worded(root / "new"):
        folder = Path(tempfile.mkdtemp(dir=root, prefix=f".new-{os.getpid()}-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep_leftovers(folder: Path, at_start: bool = False) -> None:
    """Delete what processes that are gone left half written or half deleted; `at_start` as in `was_left_by`."""
    for path in folder.glob(".*"):
        named = _LEFTOVER.fullmatch(path.name)
        if not named or not was_left_by(int(named["staged"] or named["written"]), at_start):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def copy_into(source: Path, target: Path) -> None:
    """Copy a file, or a folder with all its files, to a place whose folders are made. Raises UserError `disk_full`."""
    with worded(target):
        for path in source.rglob("*") if source.is_dir() else [source]:  # the first that finds no room ends it, unlike in copytree
            if path.is_file():
                place = target / path.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class AppendLog:
    """One writer's file of JSON lines. A torn last line of an earlier writer is closed first, so that it spoils no other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closed = False
        with worded(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        size = os.fstat(self._descriptor).st_size
        self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def append(self, record: dict[str, Any]) -> None:
        """Write one line. NaN must be recorded explicitly by the caller: JSON has none. Raises UserError `disk_full`."""
        line = orjson.dumps(record) + b"\n"
        try:
            write_all(self._descriptor, b"\n" + line if self._torn else line)
        except OSError as error:
            self._torn = True
            raise as_user_error(error, self._path) from error
        self._torn = False

    def close(self) -> None:
        """Flush and give the file back. Raises UserError `disk_full`."""
        if self._closed:
            return
        self._closed = True
        try:
            with worded(self._path):
                flush_to_disk(self._descriptor)
        finally:
            os.close(self._descriptor)


@dataclass
class LineTail:
    """Reads what was appended since the last call: whole lines only, by byte offset. Bad lines are skipped and counted."""

    path: Path
    offset_bytes: int = 0
    bad_lines: int = 0
    _identity: tuple[int, int] = field(default=(0, 0), repr=False)

    def read_new(self) -> Iterator[dict[str, Any]]:
        """Yield the records of the lines completed since the last call."""
        for line in self._read_whole_lines():
            if not line.strip():
                continue
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                self.bad_lines += 1
                continue
            if isinstance(record, dict):
                yield record
            else:
                self.bad_lines += 1

    def _read_whole_lines(self) -> list[bytes]:
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise OSError("no file")  # reading a pipe would wait for ever
            with self.path.open("rb") as stream:
                state = os.fstat(stream.fileno())
                identity = (state.st_dev, state.st_ino)
                if identity != self._identity or state.st_size < self.offset_bytes:
                    self._identity, self.offset_bytes, self.bad_lines = identity, 0, 0
                if state.st_size == self.offset_bytes:
                    return []
                stream.seek(self.offset_bytes)
                data = stream.read()
        except FileNotFoundError:
            return []
        except OSError:  # a folder in its place
            self.bad_lines = 1
            return []
        end = data.rfind(b"\n") + 1
        self.offset_bytes += end
        return data[:end].splitlines()
