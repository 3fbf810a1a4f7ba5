"""Tells the format of text by its beginning. Knows no file names."""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from tunesmith.data.readers.json_documents import SHALLOW, is_container
from tunesmith.data.readers.prose import section_level
from tunesmith.data.readers.tables import find_delimiter
from tunesmith.errors import UserError

_DOCUMENTS = (b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8")
_UNREADABLE = (*_DOCUMENTS, b"\x7fELF", b"\xd0\xcf\x11\xe0", b"SQLite format 3", b"ARROW1", b"ORC", b"Obj\x01")
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MOST_LINES = 200


@dataclass(frozen=True)
class TextFormat:
    """A format and what its reader needs to know."""

    name: str
    delimiter: str = ""
    section_level: int = 0


def is_unreadable(head: bytes) -> bool:
    """Say whether bytes begin a file of a kind that holds no rows: a picture, a PDF, an old Excel file."""
    return head.startswith(_UNREADABLE)


def sniff_text(sample: bytes, whole: bool, file: str) -> TextFormat:
    """Return the format of UTF-8 text with plain newlines; `whole` says that the sample is the whole file.

    Raises UserError `data_format_unknown`, `data_header_missing`.
    """
    name = _json_format(sample, whole)
    if name:
        return TextFormat(name)
    if len(_CONTROLS.findall(sample[:65_536])) > min(len(sample), 65_536) // 10 + 1:
        raise UserError("data_format_unknown", file=file)
    text = sample.decode("utf-8", "replace")
    level = section_level(sample)
    delimiter = find_delimiter(text, whole, file, known_only=level > 0)
    if delimiter:
        return TextFormat("tsv" if delimiter == "\t" else "csv", delimiter)
    return TextFormat("markdown", section_level=level) if level else TextFormat("text")


def _json_format(sample: bytes, whole: bool) -> str:
    lines = sample.split(b"\n")
    if not whole and len(lines) > 1:
        lines.pop()
    lines = [line for line in lines if line.strip()][:_MOST_LINES]
    begun = [line for line in lines if line.startswith(b"{")]
    complete = sum(map(_is_value, begun))
    body = sample.lstrip()
    if body.startswith(b"{"):
        if len(lines) == 1:
            return "jsonl" if _is_value(lines[0]) and not is_container(sample) else "json"
        return "jsonl" if _is_value(lines[0]) or (complete and 2 * complete >= len(begun)) else "json"
    if body.startswith(b"["):
        if len(lines) > 1 and _is_value(lines[0]) and all(line.startswith((b"[", b"{")) for line in lines):
            return "jsonl"
        return "json" if body[1:].lstrip()[:1] in {b"{", b"[", b"]", b'"', b""} or _is_value(lines[0]) else ""
    return "jsonl" if complete and 2 * complete >= len(lines) else ""


def _is_value(line: bytes) -> bool:
    """Say whether a line is a whole JSON object or list, if only by its brackets (NaN and the like are judged later)."""
    text = line.strip()
    if SHALLOW.fullmatch(text):
        return True
    try:
        return isinstance(orjson.loads(text), dict | list)
    except orjson.JSONDecodeError:
        return False
