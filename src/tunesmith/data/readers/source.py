"""Any file of training data to rows: what it is, told by its content, and its rows one after the other. Knows no page and no model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import IO

from tunesmith.data.formats import Problem, Row
from tunesmith.data.readers.archives import CHUNK_BYTES, ByteStream, Member, find_members, is_archive, is_workbook
from tunesmith.data.readers.excel import excel_rows
from tunesmith.data.readers.json_documents import DocumentReader, is_container
from tunesmith.data.readers.json_rows import json_line_rows
from tunesmith.data.readers.json_values import Item
from tunesmith.data.readers.meter import Budget, Meter
from tunesmith.data.readers.parquet import parquet_rows
from tunesmith.data.readers.prose import paragraph_rows, section_rows
from tunesmith.data.readers.sniffing import TextFormat, is_unreadable, sniff_text
from tunesmith.data.readers.tables import table_rows
from tunesmith.data.readers.text_encoding import Utf8Chunks
from tunesmith.errors import UserError

__all__ = ["Budget", "Source", "inspect_source", "iterate_rows"]

_DEFAULT_BUDGET = Budget()
_INSPECTED_BYTES = 16_000_000  # how far a file is read to meet its first character beyond ASCII
_JSON_NAMES = (".json", ".jsonl", ".ndjson")
_MOST_BLANK_LINES = 1_000_000
_MEMORY_BYTES = 32_000_000  # what of an unpacked binary file is held before it goes to a temporary file
Progress = Callable[[int, int], None]
Pair = tuple[str, Item]


@dataclass(frozen=True)
class Source:
    """What a file or folder is: format and encoding (empty for binary formats) of its first file, and the files of each split."""

    format: str
    encoding: str
    files: dict[str, tuple[str, ...]]


def inspect_source(path: Path) -> Source:
    """Tell what a file or folder is, by content and not by name. Raises UserError `data_…`, `archive_…` as `iterate_rows` does."""
    members = find_members(path, _DEFAULT_BUDGET.bytes)
    files: dict[str, tuple[str, ...]] = {}
    for member in members:
        split = member.split or "train"
        files[split] = (*files.get(split, ()), member.name)
    first = next((m for m in members if m.split in {"", "train"}), members[0])
    meter = Meter(_DEFAULT_BUDGET, first.name)
    with first.open() as stream:
        opened = _Opened(first, stream, meter, None)
        if opened.binary:
            return Source(_binary_format(opened, stream, meter), "", files)
        if is_container(opened.sample) and len(members) == 1 and not first.split:
            splits = dict.fromkeys(split or "train" for split, _, _ in opened.documents().values())
            return Source(opened.format.name, opened.text.encoding, {split: (first.name,) for split in splits} or files)
        for _ in opened.chunks:
            if opened.text.decided or meter.bytes > _INSPECTED_BYTES:
                break
        return Source(opened.format.name, opened.text.encoding, files)


def iterate_rows(path: Path, budget: Budget = _DEFAULT_BUDGET, progress: Progress | None = None) -> Iterator[Pair]:
    """Yield (split, row or problem) in file order, streaming; `progress(bytes_done, bytes_total)` is called about every 256 kB.

    A file beyond the first begins a split anew, so lines count within their file. Time that the caller spends on a row is not counted.

    Raises UserError, also after rows were given: `data_file_missing`, `data_file_empty`, `data_file_broken`, `data_folder_empty`,
    `data_encoding_unknown`, `data_format_unknown`, `data_header_missing`, `data_needs_extra`, `data_too_large`,
    `data_too_many_rows`, `data_too_slow`, `archive_path_not_allowed`, `archive_nested`, `archive_encrypted`,
    `archive_too_many_files`.
    """
    members = find_members(path, budget.bytes)
    meter = Meter(budget, path.name)
    total = sum(member.size_bytes for member in members)
    done = 0
    for member in members:
        meter.file = member.name
        report = _report(progress, done, member.size_bytes, total) if progress else None
        for pair in _member_rows(member, meter, report):
            meter.add_rows(1)
            given = time.perf_counter()
            yield pair
            meter.paused_seconds += time.perf_counter() - given
        done += member.size_bytes
        if progress:
            progress(done, total)
    if not meter.rows:
        raise UserError("data_file_empty", file=path.name)


def _report(progress: Progress, before: int, size: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + min(done, size), total)


class _Opened:
    """A file whose beginning was looked at: `binary`, or text with its `format` and all its `chunks`."""

    def __init__(self, member: Member, stream: ByteStream, meter: Meter, report: Callable[[int], None] | None) -> None:
        self.member = member
        self._meter = meter
        self.head = stream.read()
        self.binary = self.head.startswith((b"PAR1", b"PK\x03\x04"))
        if not self.head:
            raise UserError("data_file_empty", file=member.name)
        if is_archive(self.head) and member.in_archive and not self.binary:
            raise UserError("archive_nested", file=member.name)
        if is_unreadable(self.head) or (is_archive(self.head) and not self.binary):
            raise UserError("data_format_unknown", file=member.name)
        if self.binary:
            return
        self.text = Utf8Chunks(_metered(self.head, stream, meter, report), member.name)
        chunks = iter(self.text)
        self.sample = _first_text(chunks, member.name)
        whole = len(self.head) < CHUNK_BYTES
        if whole:
            self.sample = b"".join([self.sample, *chunks])
        self.format: TextFormat = sniff_text(self.sample, whole, member.name)
        if self.format.name in {"text", "markdown"} and member.name.lower().removesuffix(".gz").endswith(_JSON_NAMES):
            raise UserError("data_not_json", file=member.name)  # paragraphs of a broken file are not what was meant
        self.chunks = chain([self.sample], chunks)

    def documents(self) -> DocumentReader:
        """Return the reader of a JSON file's values."""
        return DocumentReader(self.chunks, self.sample, self._meter.budget.field_bytes)


def _metered(head: bytes, stream: ByteStream, meter: Meter, report: Callable[[int], None] | None) -> Iterator[bytes]:
    chunk = head
    while chunk:
        meter.add_bytes(len(chunk))
        if report:
            report(stream.position())
        yield chunk
        chunk = stream.read()


def _first_text(chunks: Iterable[bytes], file: str) -> bytes:
    """Return the first chunk that holds more than white space, with that before it counted as lines."""
    blank = b""
    for chunk in chunks:
        if chunk.strip():
            return blank + chunk
        blank += b"\n" * chunk.count(b"\n")
        if len(blank) > _MOST_BLANK_LINES:
            raise UserError("data_format_unknown", file=file)
    raise UserError("data_file_empty", file=file)


def _member_rows(member: Member, meter: Meter, report: Callable[[int], None] | None) -> Iterator[Pair]:
    split = member.split or "train"
    with member.open() as stream:
        opened = _Opened(member, stream, meter, report)
        if opened.binary:
            for item in _binary_rows(opened, stream, meter, report):
                yield split, item
        elif opened.format.name == "json":
            for named, item in opened.documents().rows():
                yield (member.split or named or "train"), item
        else:
            yield from zip(repeat(split), _text_rows(opened.chunks, opened.format, meter.budget.field_bytes), strict=False)


def _text_rows(chunks: Iterable[bytes], found: TextFormat, most_bytes: int) -> Iterator[Row | Problem]:
    if found.name == "jsonl":
        return json_line_rows(chunks, most_bytes)
    if found.delimiter:
        return table_rows(chunks, found.delimiter, most_bytes)
    if found.name == "markdown":
        return section_rows(chunks, found.section_level, most_bytes)
    return paragraph_rows(chunks, most_bytes)


def _binary_rows(opened: _Opened, stream: ByteStream, meter: Meter, report: Callable[[int], None] | None) -> Iterator[Item]:
    size = opened.member.size_bytes
    with _seekable(opened, stream, meter) as file:
        if _kind_of(file, opened) == "excel":
            yield from excel_rows(file, meter)
        else:
            yield from parquet_rows(file, meter, lambda share: report(int(share * size)) if report else None)


def _binary_format(opened: _Opened, stream: ByteStream, meter: Meter) -> str:
    with _seekable(opened, stream, meter) as file:
        return _kind_of(file, opened)


def _kind_of(file: IO[bytes], opened: _Opened) -> str:
    if opened.head.startswith(b"PAR1"):
        return "parquet"
    if is_workbook(file):
        return "excel"
    raise UserError("archive_nested", file=opened.member.name)


def _seekable(opened: _Opened, stream: ByteStream, meter: Meter) -> IO[bytes]:
    """Return the file in place, or unpacked within the budget into a temporary one."""
    if opened.member.path:
        return opened.member.path.open("rb")
    spool = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115 - the caller closes it
    for chunk in _metered(opened.head, stream, meter, None):
        spool.write(chunk)
    spool.seek(0)
    return spool
