"""Rows from JSON lines, quickly. Knows no encoding and no archive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from tunesmith.data.formats import Problem, Row
from tunesmith.data.readers.json_documents import DocumentReader
from tunesmith.data.readers.json_values import Item, check_row, explain, is_suspicious
from tunesmith.data.readers.lines import Overlong, line_blocks


def json_line_rows(chunks: Iterable[bytes], most_bytes: int) -> Iterator[Item]:
    """Yield the row or problem of each line of UTF-8 text; empty lines are skipped."""
    number = 0
    loads = orjson.loads
    for lines in line_blocks(chunks, most_bytes):
        for raw in lines:
            number += 1
            try:
                value = loads(raw)  # type: ignore[arg-type]
            except orjson.JSONDecodeError as error:
                yield from _refused(raw, number, error, most_bytes)
                continue
            if type(value) is not dict:
                yield Problem(number, "", "not_an_object", {"found": type(value).__name__})
            elif is_suspicious(raw, value):  # type: ignore[arg-type]
                yield from check_row(raw, number, value)  # type: ignore[arg-type]
            else:
                yield Row(number, value)


def _refused(raw: bytes | Overlong, number: int, error: orjson.JSONDecodeError, most_bytes: int) -> Iterator[Item]:
    if isinstance(raw, Overlong):
        yield raw.as_problem(number, most_bytes)
    elif raw.strip():
        problem = explain(raw, number, error)
        yield from (problem.code == "not_json" and _several_objects(raw, number)) or [problem]


def _several_objects(raw: bytes, number: int) -> list[Item]:
    """Return the rows of a line that holds several objects, or one and a comma; none if anything else stands in it."""
    if not raw.lstrip().startswith(b"{"):
        return []
    items = [item for _, item in DocumentReader([raw], raw, len(raw)).rows()]
    if not items or any(isinstance(item, Problem) and item.severity == "error" for item in items):
        return []
    return [Row(number, item.value) if isinstance(item, Row) else item for item in items]
