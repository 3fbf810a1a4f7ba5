"""Says what is wrong with rows: where, which field, which code. Changes nothing and knows no language."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tunesmith.data.formats import Problem, Row, row_kind

ROLES = ("system", "user", "assistant", "tool")
TEXT_FIELDS = {
    "prompt_completion": ("prompt", "completion"),
    "prompt_answer": ("prompt", "answer"),
    "preference": ("prompt", "chosen", "rejected"),
    "text": ("text",),
}


def find_problems(rows: Iterable[Row]) -> list[Problem]:
    """Return the problems of all rows in the order of their lines."""
    return [problem for row in rows for problem in _check_row(row)]


def _check_row(row: Row) -> Iterator[Problem]:
    kind = row_kind(row.value)
    if kind == "unknown":
        columns = ", ".join(sorted(str(name) for name in row.value)) or "–"
        yield Problem(row.line, "", "unknown_kind", {"columns": columns[:200]})
    elif kind == "messages":
        yield from _check_messages(row.line, row.value["messages"])
    else:
        for name in TEXT_FIELDS[kind]:
            yield from _check_text(row.line, name, row.value[name])


def _check_text(line: int, name: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield Problem(line, name, "not_text", {"found": type(value).__name__})
    elif not value.strip():
        yield Problem(line, name, "empty_text")


def _check_messages(line: int, messages: Any) -> Iterator[Problem]:
    if not isinstance(messages, list) or not messages:
        yield Problem(line, "messages", "no_messages")
        return
    for number, message in enumerate(messages, start=1):
        yield from _check_message(line, number, message)
    roles = [m.get("role") for m in messages if isinstance(m, dict)]
    if "assistant" not in roles:
        yield Problem(line, "messages", "no_assistant_turn")
    elif roles[-1] != "assistant":
        yield Problem(line, "messages", "last_turn_not_assistant", severity="warning")


def _check_message(line: int, number: int, message: Any) -> Iterator[Problem]:
    where = f"messages[{number}]"
    if not isinstance(message, dict):
        yield Problem(line, where, "not_a_message", {"found": type(message).__name__})
        return
    if message.get("role") not in ROLES:
        yield Problem(line, f"{where}.role", "unknown_role", {"role": str(message.get("role"))[:50]})
    content = message.get("content")
    if not isinstance(content, str):
        yield Problem(line, f"{where}.content", "not_text", {"found": type(content).__name__})
    elif not content.strip() and message.get("role") == "assistant":
        yield Problem(line, f"{where}.content", "empty_answer")


def usable_rows(rows: Iterable[Row], kinds: Iterable[str]) -> tuple[list[Row], list[Problem]]:
    """Return the rows without an error and of a wanted kind, and why the others are left out."""
    wanted = set(kinds)
    usable: list[Row] = []
    problems: list[Problem] = []
    for row in rows:
        found = [p for p in _check_row(row) if p.severity == "error"]
        kind = row_kind(row.value)
        if not found and kind not in wanted:
            found = [Problem(row.line, "", "kind_not_for_method", {"kind": kind})]
        if found:
            problems += found
        else:
            usable.append(row)
    return usable, problems
