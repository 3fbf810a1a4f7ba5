"""Rows from plain text (a paragraph each) and Markdown (a section each). Knows no encoding."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tunesmith.data.formats import Problem, Row
from tunesmith.data.readers.json_values import Item
from tunesmith.data.readers.lines import Overlong, line_blocks

_HEADING = re.compile(rb"(#{1,6})[ \t]+\S")
_FENCE = re.compile(rb" {0,3}(```|~~~)")


class _Piece:
    """The lines of one row, bounded in size."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lines: list[bytes] = []
        self._size = 0
        self.line = 0

    def add(self, number: int, raw: bytes | Overlong) -> None:
        self.line = self.line or number
        self._size += raw.size_bytes if isinstance(raw, Overlong) else len(raw) + 1
        if self._size > self._most_bytes + 1:
            self._lines = []
        elif isinstance(raw, bytes):
            self._lines.append(raw)

    def finish(self) -> Iterator[Item]:
        """Yield the row or problem, if there is any, and begin the next piece."""
        line, size, raw = self.line, self._size, b"\n".join(self._lines)
        self.line, self._size, self._lines = 0, 0, []
        if size > self._most_bytes + 1:
            yield Overlong(size - 1).as_problem(line, self._most_bytes)
        elif raw.strip():
            yield _as_row(line, raw)


def _as_row(line: int, raw: bytes) -> Item:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return Problem(line + raw[: error.start].count(b"\n"), "", "broken_text")
    if "\0" in text:
        return Problem(line + text[: text.index("\0")].count("\n"), "", "control_character", {"found": "U+0000"})
    return Row(line, {"text": text.strip("\n")})


def paragraph_rows(chunks: Iterable[bytes], most_bytes: int) -> Iterator[Item]:
    """Yield a row for each paragraph; blank lines stand between them."""
    piece = _Piece(most_bytes)
    number = 0
    for block in line_blocks(chunks, most_bytes):
        for raw in block:
            number += 1
            if isinstance(raw, Overlong) or raw.strip():
                piece.add(number, raw)
            elif piece.line:
                yield from piece.finish()
    yield from piece.finish()


def section_rows(chunks: Iterable[bytes], level: int, most_bytes: int) -> Iterator[Item]:
    """Yield a row for each section: it begins with a heading of at most `level` number signs."""
    piece = _Piece(most_bytes)
    number = 0
    fenced = False
    for block in line_blocks(chunks, most_bytes):
        for raw in block:
            number += 1
            if isinstance(raw, bytes):
                fenced ^= bool(_FENCE.match(raw))
                heading = None if fenced else _HEADING.match(raw)
                if heading and len(heading[1]) <= level:
                    yield from piece.finish()
            if piece.line or isinstance(raw, Overlong) or raw.strip():
                piece.add(number, raw)
    yield from piece.finish()


def section_level(sample: bytes) -> int:
    """Return the level of heading that divides a Markdown text, 0 if it has none. A title that stands alone divides nothing."""
    levels: list[int] = []
    fenced = False
    for line in sample.split(b"\n"):
        fenced ^= bool(_FENCE.match(line))
        heading = None if fenced else _HEADING.match(line)
        if heading:
            levels.append(len(heading[1]))
    if not levels:
        return 0
    top = min(levels)
    deeper = [level for level in levels if level > top]
    return min(deeper) if levels.count(top) == 1 and levels[0] == top and len(deeper) > 1 else top
