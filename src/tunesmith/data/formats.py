"""Reads rows from JSON lines under a budget, and tells what kind of row each is. Knows no tokenizer and no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

import orjson

from tunesmith.errors import UserError

BUDGET_BYTES = 500_000_000
BUDGET_ROWS = 2_000_000
Message = dict[str, str]


@dataclass(frozen=True)
class Row:
    """One row and the line that it stands in, counted from 1."""

    line: int
    value: dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """What is wrong in a line; `code` is worded by the pages under `problem.<code>`."""

    line: int
    field: str
    code: str
    facts: Mapping[str, Any] = dataclass_field(default_factory=dict)
    severity: str = "error"


@dataclass(frozen=True)
class ReadResult:
    """The rows that could be read, and the lines that could not."""

    rows: list[Row]
    problems: list[Problem]


def read_rows(path: Path, budget_bytes: int = BUDGET_BYTES, budget_rows: int = BUDGET_ROWS) -> ReadResult:
    """Return the rows of a file. Raises UserError `data_file_missing` and what `parse_rows` raises."""
    try:
        size = path.stat().st_size
        if size > budget_bytes:
            raise UserError("data_file_too_large", file=path.name, size_bytes=size, largest_bytes=budget_bytes)
        content = path.read_bytes()
    except OSError as error:
        raise UserError("data_file_missing", file=str(path)) from error
    return parse_rows(content, path.name, budget_rows)


def parse_rows(content: bytes, name: str, budget_rows: int = BUDGET_ROWS) -> ReadResult:
    """Return the rows in JSON lines (UTF-8, a byte order mark is tolerated).

    Raises UserError `data_file_empty`, `data_not_utf8` (with the line), `data_too_many_rows`.
    """
    lines = _decode(content, name).split("\n")
    if not any(line.strip() for line in lines):
        raise UserError("data_file_empty", file=name)
    rows: list[Row] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if len(rows) >= budget_rows:
            raise UserError("data_too_many_rows", file=name, most=budget_rows)
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            problems.append(Problem(number, "", "not_json", {"column": error.colno}))
            continue
        if isinstance(value, dict):
            rows.append(Row(number, value))
        else:
            problems.append(Problem(number, "", "not_an_object", {"found": type(value).__name__}))
    return ReadResult(rows, problems)


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError("data_not_utf8", file=name, line=content[: error.start].count(b"\n") + 1) from error


def row_kind(value: Mapping[str, Any]) -> str:
    """Return `messages`, `preference`, `prompt_completion`, `prompt_answer`, `text` or `unknown`, by the row's columns."""
    if "messages" in value:
        return "messages"
    if "chosen" in value and "rejected" in value:
        return "preference"
    if "prompt" in value and "completion" in value:
        return "prompt_completion"
    if "prompt" in value and "answer" in value:
        return "prompt_answer"
    return "text" if "text" in value else "unknown"


def as_messages(value: Mapping[str, Any]) -> list[Message]:
    """Return a row as a conversation, empty when it is none (`text`, `unknown`)."""
    kind = row_kind(value)
    if kind == "messages":
        return list(value["messages"])
    answers = {"prompt_completion": "completion", "prompt_answer": "answer", "preference": "chosen"}
    if kind not in answers:
        return []
    answer = value[answers[kind]]
    return [{"role": "user", "content": value["prompt"]}, {"role": "assistant", "content": answer}]
