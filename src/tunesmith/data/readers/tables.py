"""Rows from delimited text with a header row, and the guess of its delimiter. Knows no encoding."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tunesmith.data.formats import Problem, Row
from tunesmith.data.readers.json_values import Item
from tunesmith.data.readers.lines import Overlong, line_blocks
from tunesmith.errors import UserError

DELIMITERS = (",", "\t", ";", "|")
_NAMES = (
    "text prompt completion messages conversations conversation chosen rejected answer question instruction input output response content "
    "context system user assistant query reply label id title source target 質問 回答 指示 入力 出力 本文 テキスト"
)
KNOWN_COLUMNS = frozenset(_NAMES.split())
_MOST_RECOVERIES = 20  # each reads up to one field's length again
_SAMPLE_RECORDS = 50
_NUMBER = re.compile(r"\s*[-+]?[\d.,]+%?\s*")


class _TooLongError(Exception):
    pass


class _Lines:
    """Feeds a CSV reader line by line and remembers the lines of the record, so that a runaway quote can be taken back."""

    def __init__(self, chunks: Iterable[bytes], most_bytes: int) -> None:
        self._lines = (line for block in line_blocks(chunks, most_bytes) for line in block)
        self._waiting: deque[str] = deque()
        self._most_bytes = most_bytes
        self.record: list[str] = []
        self.size_bytes = 0
        self.number = 0
        self.broken = self.ended = False

    def begin(self) -> int:
        """Begin a record and return the number of its first line."""
        self.record, self.size_bytes, self.broken = [], 0, False
        return self.number + 1

    def take_back(self) -> None:
        """Give back all lines of the record but its first."""
        self._waiting.extendleft(reversed(self.record[1:]))
        self.number -= len(self.record) - 1
        self.ended = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else self._decode(next(self._lines, None))
        self.number += 1
        self.record.append(line)
        self.size_bytes += len(line)
        if self.size_bytes > self._most_bytes:
            raise _TooLongError
        return line

    def _decode(self, raw: bytes | Overlong | None) -> str:
        if raw is None:
            self.ended = True
            raise StopIteration
        if isinstance(raw, Overlong):
            self.number += 1
            self.record.append("")
            self.size_bytes = raw.size_bytes
            raise _TooLongError
        try:
            return raw.decode("utf-8") + "\n"
        except UnicodeDecodeError:
            self.broken = True
            return raw.decode("utf-8", "replace") + "\n"


def table_rows(chunks: Iterable[bytes], delimiter: str, most_bytes: int) -> Iterator[Item]:
    """Yield a row of texts for each record after the header; a row's line is where its record begins.

    Raises UserError `data_header_missing` never: whether there is a header is known before (`find_delimiter`).
    """
    csv.field_size_limit(min(sys.maxsize, max(csv.field_size_limit(), most_bytes + 1)))  # the feeder stops earlier
    feeder = _Lines(chunks, most_bytes)
    reader = csv.reader(feeder, delimiter=delimiter)
    header: list[str] = []
    recoveries = 0
    while True:
        line = feeder.begin()
        problem: Problem | None = None
        cells: list[str] = []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _TooLongError:
            problem = Problem(line, "", "field_too_long", {"size_bytes": feeder.size_bytes, "most_bytes": most_bytes})
        except csv.Error:
            problem = Problem(line, "", "unterminated_quote")
        if len(feeder.record) > 1 and (problem or (feeder.ended and _is_open(feeder.record))) and recoveries < _MOST_RECOVERIES:
            recoveries += 1
            feeder.take_back()
            problem = Problem(line, "", "unterminated_quote")
        elif feeder.ended and not problem and _is_open(feeder.record):
            problem = Problem(line, "", "unterminated_quote")
        problem = problem or _check_record(line, feeder, cells)
        if problem:
            yield problem
        elif cells and not header:
            header = name_columns(cells)
            yield from repeated_columns(line, header)
        elif cells:
            yield _as_row(line, header, cells)


def _is_open(record: list[str]) -> bool:
    return sum(line.count('"') for line in record) % 2 == 1


def _check_record(line: int, feeder: _Lines, cells: list[str]) -> Problem | None:
    if feeder.broken:
        return Problem(line, "", "broken_text")
    if any("\0" in text for text in feeder.record):
        number = next((i for i, cell in enumerate(cells) if "\0" in cell), 0)
        return Problem(line, f"{number + 1}", "control_character", {"found": "U+0000"})
    return None


def _as_row(line: int, header: list[str], cells: list[str]) -> Item:
    if len(cells) == len(header):
        return Row(line, dict(zip(header, cells, strict=True)))
    column = min(len(cells), len(header)) + 1
    field = header[column - 1][:200] if column <= len(header) else ""
    return Problem(line, field, "uneven_row", {"column": column, "found": len(cells), "expected": len(header)})


def name_columns(cells: list[str]) -> list[str]:
    """Return the names of the header row; a column without one is named by its number (pandas writes such an index)."""
    return [cell.strip() or f"column_{number}" for number, cell in enumerate(cells, start=1)]


def repeated_columns(line: int, names: list[str]) -> Iterator[Problem]:
    """Yield a warning where a column's name is given twice."""
    if len(set(names)) < len(names):
        name = Counter(names).most_common(1)[0][0]
        yield Problem(line, name[:200], "duplicate_key", {"name": name[:100]}, "warning")


@dataclass(frozen=True)
class _Guess:
    delimiter: str
    known: int
    share: float
    records: list[list[str]]

    @property
    def width(self) -> int:
        return len(self.records[0])


def find_delimiter(sample: str, whole: bool, file: str, known_only: bool = False) -> str:
    """Return the delimiter of a table with a header row; empty if the text is no table, or (`known_only`) no known column is named.

    Raises UserError `data_header_missing` when the text is a table without names.
    """
    guesses = [guess for guess in (_read_sample(sample, whole, delimiter) for delimiter in DELIMITERS) if guess]
    if not guesses:
        return ""
    best = max(guesses, key=lambda g: (g.known, g.width > 1, g.share, g.width))
    if best.known and (best.width > 1 or (len(best.records) > 1 and best.share >= 0.8)):
        return best.delimiter
    if known_only or best.width < 2 or len(best.records) < 2 or best.share < 0.8:
        return ""
    if _looks_like_header(best.records[0]):
        return best.delimiter
    first = sample.lstrip().split("\n", 1)[0]
    if len(best.records) >= 3 and (best.delimiter == "\t" or '"' in first or any(_NUMBER.fullmatch(c) for c in best.records[0])):
        raise UserError("data_header_missing", file=file, columns=best.width)
    return ""


def _read_sample(sample: str, whole: bool, delimiter: str) -> _Guess | None:
    if delimiter not in sample and delimiter != ",":
        return None
    records: list[list[str]] = []
    try:
        for cells in csv.reader(io.StringIO(sample[:65_536], newline="\n"), delimiter=delimiter):
            if cells:
                records.append(cells)
            if len(records) > _SAMPLE_RECORDS:
                break
    except csv.Error:
        pass  # a field longer than the module's limit: the records before it tell
    if len(records) > 1 and (not whole or len(sample) > 65_536 or len(records) > _SAMPLE_RECORDS):
        records.pop()
    if not records:
        return None
    share = sum(len(r) == len(records[0]) for r in records) / len(records)
    names = {cell.strip().lower() for cell in records[0]}
    return _Guess(delimiter, len(names & KNOWN_COLUMNS), share, records)


def _looks_like_header(cells: list[str]) -> bool:
    if any(not cell.strip() for cell in cells[1:]) or len(set(cells)) < len(cells):
        return False
    return all(
        len(c) <= 64
        and len(c.split()) <= 4
        and not c[:1].isspace()
        and not _NUMBER.fullmatch(c)
        and not c.strip().endswith(tuple(".!?。！？"))
        for c in cells
    )
