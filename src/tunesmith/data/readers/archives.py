"""Which files a path holds (itself, a folder's, a zip's), which split each is of, and their bytes. Knows no rows."""

from __future__ import annotations

import gzip
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tunesmith.errors import UserError

CHUNK_BYTES = 262_144
MOST_ENTRIES = 1000
LARGEST_RATIO = 100  # of plain to packed bytes: half of an adapter that has learned nothing is zeros, a bomb is all zeros
SMALLEST_CHECKED_BYTES = 1_000_000
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, LookupError, ArithmeticError, struct.error)
_SPLIT_NAME = re.compile(r"(train|training|valid|validation|val|dev|test)(?:[-_.].*)?", re.IGNORECASE)
_SPLITS = {"train": "train", "training": "train", "test": "test"}  # every other name is of the validation split
_UNREAD = re.compile(r"(readme|license|licence|changelog|notice|dataset_infos?)(\..*)?", re.IGNORECASE)
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x28\xb5\x2f\xfd")
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # the others are rare, and unpack without a bound on memory
_WORKBOOK = "xl/workbook.xml"


class ByteStream:
    """Bytes of a file, decompressed, and how far the reading of the file on disk has come."""

    def __init__(self, stream: IO[bytes], position: Callable[[], int], file: str) -> None:
        self._stream = stream
        self._position = position
        self._file = file

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """Return exactly `size` bytes, less only at the end. Raises UserError `data_file_broken`."""
        parts: list[bytes] = []
        try:
            while size > 0 and (part := self._stream.read(size)):
                parts.append(part)
                size -= len(part)
        except BROKEN as error:
            raise broken(self._file, error) from error
        return b"".join(parts)

    def position(self) -> int:
        """Return the bytes done, in the unit of `Member.size_bytes`."""
        return self._position()


@dataclass(frozen=True)
class Member:
    """One file of rows. `split` is empty where the name tells none; `path` is set only where it can be read in place."""

    name: str
    split: str
    size_bytes: int
    open: Callable[[], AbstractContextManager[ByteStream]]
    path: Path | None = None
    in_archive: bool = False


def broken(file: str, error: BaseException) -> UserError:
    """Return the UserError `data_file_broken`."""
    return UserError("data_file_broken", file=file, reason=printable(" ".join(str(error).split())) or type(error).__name__)


def find_members(path: Path, most_bytes: int) -> list[Member]:
    """Return the files of rows of a file, folder or zip archive, those of named splits only if there are such.

    Raises UserError `data_file_missing`, `data_folder_empty`, `data_file_broken`, `data_too_large`, `archive_…`.
    """
    try:
        if path.is_dir():
            members = _folder_members(path, most_bytes)
        elif path.is_file():
            members = _file_members(path, "", most_bytes)
        else:
            raise UserError("data_file_missing", file=str(path))
    except (OSError, ValueError) as error:
        raise UserError("data_file_missing", file=str(path)) from error
    return [member for member in members if member.split] or members


def _folder_members(folder: Path, most_bytes: int) -> list[Member]:
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    files = [file for file in files if not _UNREAD.fullmatch(file.name)] or files
    files = [file for file in files if split_of(file.name)] or files
    if not files:
        raise UserError("data_folder_empty", folder=str(folder))
    if len(files) > MOST_ENTRIES:
        raise UserError("archive_too_many_files", file=folder.name, most=MOST_ENTRIES)
    return [member for file in files for member in _file_members(file, split_of(file.name), most_bytes)]


def split_of(name: str) -> str:
    """Return the split that a file's name tells: `train.jsonl`, `dev-2.csv`, `validation-00000-of-00002.parquet`; empty if none."""
    match = _SPLIT_NAME.fullmatch(PurePosixPath(name).name)
    return _SPLITS.get(match[1].lower(), "valid") if match else ""


def _file_members(path: Path, split: str, most_bytes: int) -> list[Member]:
    with path.open("rb") as stream:
        head = stream.read(4)
        size = stream.seek(0, 2)
    if head in {b"PK\x03\x04", b"PK\x05\x06"}:
        entries = checked_entries(path, most_bytes)
        if not any(entry.filename == _WORKBOOK for entry in entries):
            return _zip_members(path, entries, split)
    gzipped = head[:2] == b"\x1f\x8b"
    split = split or split_of(path.name)
    return [Member(path.name, split, size, lambda: _open_file(path, gzipped), None if gzipped else path, gzipped)]


@contextmanager
def _open_file(path: Path, gzipped: bool) -> Iterator[ByteStream]:
    try:
        raw = path.open("rb")
    except OSError as error:
        raise UserError("data_file_missing", file=str(path)) from error
    with raw:
        yield ByteStream(gzip.GzipFile(fileobj=raw) if gzipped else raw, raw.tell, path.name)  # type: ignore[arg-type]


def checked_entries(path: Path, most_bytes: int, most_entries: int = MOST_ENTRIES) -> list[zipfile.ZipInfo]:
    """Return the files of a zip archive, none of which leads elsewhere or is too much. Raises UserError `data_…`, `archive_…`."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except BROKEN as error:
        raise broken(path.name, error) from error
    if len(entries) > most_entries:
        raise UserError("archive_too_many_files", file=path.name, most=most_entries)
    for entry in entries:
        if _is_unsafe(entry):
            raise UserError("archive_path_not_allowed", file=path.name, entry=printable(entry.orig_filename))
    files = [entry for entry in entries if not entry.is_dir()]
    for entry in files:
        if entry.flag_bits & 0x41:
            raise UserError("archive_encrypted", file=path.name, entry=printable(entry.filename))
        if entry.compress_type not in _METHODS:
            raise UserError("archive_method_unknown", file=path.name, entry=printable(entry.filename), method=entry.compress_type)
    if sum(entry.file_size for entry in files) > most_bytes:
        raise UserError("data_too_large", file=path.name, most_bytes=most_bytes)
    if not files:
        raise UserError("data_file_empty", file=path.name)
    return files


def check_plausible(path: Path, entry: zipfile.ZipInfo) -> None:
    """Refuse a file that packs better than ours do. Raises UserError `archive_ratio_not_plausible`."""
    ratio = entry.file_size // max(1, entry.compress_size)
    if entry.file_size > SMALLEST_CHECKED_BYTES and ratio > LARGEST_RATIO:
        facts = {"file": printable(path.name), "entry": printable(entry.filename), "ratio": ratio, "most": LARGEST_RATIO}
        raise UserError("archive_ratio_not_plausible", **facts)


def _is_unsafe(entry: zipfile.ZipInfo) -> bool:
    name = entry.orig_filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    special = kind not in {0, stat.S_IFREG, stat.S_IFDIR} and entry.create_system == 3
    parts = re.split(r"[/\\]", name)
    return special or "\0" in name or name.startswith(("/", "\\")) or ".." in parts or bool(re.match(r"[A-Za-z]:", name))


def printable(name: str) -> str:
    """Return a name or message of a file as it can be shown."""
    return "".join(c if c.isprintable() else "?" for c in name)[:200]


def _zip_members(path: Path, entries: list[zipfile.ZipInfo], split: str) -> list[Member]:
    files = [e for e in entries if not e.filename.startswith("__MACOSX/") and not PurePosixPath(e.filename).name.startswith(".")]
    files = [e for e in files if not _UNREAD.fullmatch(PurePosixPath(e.filename).name)] or files
    if not files:
        raise UserError("data_file_empty", file=path.name)
    files.sort(key=lambda e: e.filename)
    return [
        Member(printable(e.filename), split or split_of(e.filename), e.file_size, lambda e=e: open_entry(path, e), None, True)  # type: ignore[misc]
        for e in files
    ]


@contextmanager
def open_entry(path: Path, entry: zipfile.ZipInfo) -> Iterator[ByteStream]:
    """Open a checked file of a zip archive. Raises UserError `data_file_broken`."""
    with ExitStack() as opened:
        try:
            archive = opened.enter_context(zipfile.ZipFile(path))
            stream = opened.enter_context(archive.open(entry))
        except BROKEN as error:
            raise broken(path.name, error) from error
        yield ByteStream(stream, stream.tell, f"{path.name}/{printable(entry.filename)}")


def is_archive(head: bytes) -> bool:
    """Say whether bytes begin an archive or a compressed file."""
    return head.startswith(_ARCHIVES) or head[257:262] == b"ustar"


def is_workbook(stream: IO[bytes]) -> bool:
    """Say whether a seekable file is an Excel workbook."""
    try:
        with zipfile.ZipFile(stream) as archive:
            return _WORKBOOK in archive.namelist()
    except BROKEN:
        return False
    finally:
        stream.seek(0)
