"""Refuses workbooks whose XML would fill the memory of its reader, by one look through their parts. Understands no cells."""

from __future__ import annotations

import re
import zipfile
from typing import IO

from tunesmith.data.readers.archives import CHUNK_BYTES
from tunesmith.data.readers.meter import Meter
from tunesmith.errors import UserError

_MOST_TAGS = {b"worksheet": 50_000_000, b"sst": 4_000_000, b"": 200_000}  # a reader keeps all shared texts, and an object for each style
_MOST_ROW_TAGS = 500_000
_MOST_TEXT_BYTES = 32_000_000
_MOST_MARKED_BYTES = 64_000_000  # CDATA and comments hide how long a text is
_ROOT = re.compile(rb"<(?:\w+:)?(worksheet|sst)\b")
_ROW_END = re.compile(rb"</(?:\w+:)?row\s*>")
_ENCODING = re.compile(rb"<\?xml[^>]*encoding\s*=\s*[\"'](?!utf-8|us-ascii)", re.IGNORECASE)


def check_parts(file: IO[bytes], meter: Meter) -> None:
    """Look through all parts. Raises UserError `data_too_large`, `data_needs_too_much_memory`; ValueError for XML of no workbook."""
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as part:
                start = part.read(4096)
                text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
                if text.startswith((b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")) or _ENCODING.match(text):
                    raise ValueError("XML that is not UTF-8")
                if text.startswith(b"<"):  # all else is no XML to a reader either
                    root = _ROOT.search(start)
                    _check_xml(start, part, root[1] if root else b"", meter)


def _check_xml(chunk: bytes, part: IO[bytes], root: bytes, meter: Meter) -> None:
    tags = row_tags = text_bytes = size_bytes = 0
    marked = False
    edge = b""
    while chunk:
        meter.add_bytes(len(chunk))
        seen = edge + chunk
        if b"<!DOCTYPE" in seen or b"<!ENTITY" in seen:
            raise ValueError("XML with a document type")
        marked = marked or b"<!" in seen
        size_bytes += len(chunk)
        tags += chunk.count(b"<")
        row_end = max((match.end() for match in _ROW_END.finditer(chunk)), default=-1)
        row_tags = chunk.count(b"<", row_end) if row_end >= 0 else row_tags + chunk.count(b"<")
        text_bytes = 0 if b"</" in chunk else text_bytes + len(chunk)
        too_many = tags > _MOST_TAGS[root] or (root == b"worksheet" and row_tags > _MOST_ROW_TAGS)
        if too_many or text_bytes > _MOST_TEXT_BYTES or (marked and size_bytes > _MOST_MARKED_BYTES):
            raise UserError("data_needs_too_much_memory", file=meter.file)
        edge = chunk[-10:]
        chunk = part.read(CHUNK_BYTES)
