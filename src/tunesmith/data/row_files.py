"""Rows from the files of a data set: all of them, or a page of a large file by an index of its lines. Knows no tokenizer and no model."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path

import orjson

from tunesmith.data.formats import Problem, ReadResult, Row
from tunesmith.data.library import SPLITS
from tunesmith.data.readers.source import Budget, iterate_rows
from tunesmith.data.row_kinds import canonical_row


def read_splits(path: Path, wanted: Collection[str] = SPLITS, budget: Budget | None = None) -> dict[str, ReadResult]:
    """Return the rows of a file or folder of any format by split, under our column names, and the lines that could not be read.

    Raises UserError as `readers.source.iterate_rows` does.
    """
    found: dict[str, ReadResult] = {}
    for split, item in iterate_rows(path, budget or Budget()):
        if split not in wanted:
            continue
        result = found.setdefault(split, ReadResult([], []))
        if isinstance(item, Problem):
            result.problems.append(item)
            continue
        _, value, problems = canonical_row(item)
        if value is None or any(p.severity == "error" for p in problems):
            result.problems.extend(problems)
        else:
            result.rows.append(Row(item.line, value))
    return found


class RowFile:
    """A file of JSON lines whose rows are found by their place; lines without text are no rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets = array("Q")
        self._lines = array("Q")
        with path.open("rb") as file:
            offset = 0
            for number, line in enumerate(file, start=1):
                if not line.isspace():
                    self._offsets.append(offset)
                    self._lines.append(number)
                offset += len(line)

    def __len__(self) -> int:
        return len(self._offsets)

    def page(self, offset: int, limit: int) -> list[Row]:
        """Return some rows by their place, counted from 0; a line that is no object is left out."""
        rows = []
        with self.path.open("rb") as file:
            for place in range(offset, min(offset + limit, len(self))):
                file.seek(self._offsets[place])
                if row := _as_row(self._lines[place], file.readline()):
                    rows.append(row)
        return rows

    def search(self, text: str, limit: int) -> list[Row]:
        """Return the first rows that contain a text, whatever its case."""
        wanted = orjson.dumps(text.lower()).decode()[1:-1]
        rows: list[Row] = []
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if wanted in line.decode("utf-8", "replace").lower() and (row := _as_row(number, line)):
                    rows.append(row)
                    if len(rows) >= limit:
                        break
        return rows

    def __iter__(self) -> Iterator[Row]:
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if row := _as_row(number, line):
                    yield row


def _as_row(number: int, line: bytes) -> Row | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return Row(number, value) if isinstance(value, dict) else None


def open_rows(path: Path) -> RowFile:
    """Return a file's rows; the index is kept while the file does not change."""
    state = path.stat()
    return _open_rows(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=32)
def _open_rows(path: Path, modified_ns: int, size_bytes: int) -> RowFile:
    del modified_ns, size_bytes  # part of the cache's key only
    return RowFile(path)
