"""Says what is wrong with rows: where, which field, which code. Changes nothing and knows no language."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tunesmith.data.formats import KINDS, Problem, Row, row_kind

ROLES = ("system", "user", "assistant", "tool")


def find_problems(rows: Iterable[Row]) -> list[Problem]:
    """Return the problems of all rows in the order of their lines."""
    return [problem for row in rows for problem in check_row(row)]


def check_row(row: Row, known_kind: str = "") -> list[Problem]:
    """Return what is wrong with a row; its kind is found out when it is not known."""
    value = row.value
    kind = known_kind or row_kind(value)
    if kind == "unknown":
        columns = ", ".join(sorted(str(name) for name in value)) or "–"
        return [Problem(row.line, "", "unknown_kind", {"columns": columns[:200]})]
    if kind == "messages":
        return list(_check_messages(row.line, value["messages"]))
    problems: list[Problem] = []
    for name in KINDS[kind].texts:
        if not (name == "prompt" and isinstance(value[name], list)):
            problems += _check_text(row.line, name, value[name])
    prompt = value.get("prompt")
    if isinstance(prompt, list):
        problems += _check_turns(row.line, "prompt", prompt)
    elif kind == "preference":
        problems += _check_text(row.line, "prompt", prompt)
    if "system" in value and not isinstance(value["system"], str):
        problems.append(Problem(row.line, "system", "not_text", {"found": type(value["system"]).__name__}))
    if kind in _MORE_CHECKS:
        problems += _MORE_CHECKS[kind](row.line, value)
    return problems


def _check_text(line: int, name: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield Problem(line, name, "not_text", {"found": type(value).__name__})
    elif not value or value.isspace():
        yield Problem(line, name, "empty_text")


def _check_messages(line: int, messages: Any) -> Iterator[Problem]:
    if not isinstance(messages, list) or not messages:
        yield Problem(line, "messages", "no_messages")
        return
    yield from _check_turns(line, "messages", messages)
    if type(messages[-1]) is dict and messages[-1].get("role") == "assistant":
        return
    if not any(isinstance(m, dict) and m.get("role") == "assistant" for m in messages):
        yield Problem(line, "messages", "no_assistant_turn")
    else:
        yield Problem(line, "messages", "last_turn_not_assistant", severity="warning")


def _check_turns(line: int, column: str, messages: list[Any]) -> Iterator[Problem]:
    for number, message in enumerate(messages, start=1):
        if type(message) is dict and type(message.get("content")) is str and message.get("role") in ROLES and message["content"].strip():
            continue
        yield from _check_message(line, f"{column}[{number}]", message)


def _check_message(line: int, where: str, message: Any) -> Iterator[Problem]:
    if not isinstance(message, dict):
        yield Problem(line, where, "not_a_message", {"found": type(message).__name__})
        return
    if message.get("role") not in ROLES:
        yield Problem(line, f"{where}.role", "unknown_role", {"role": str(message.get("role"))[:50]})
    content = message.get("content")
    if not isinstance(content, str):
        yield Problem(line, f"{where}.content", "not_text", {"found": type(content).__name__})
    elif not content.strip() and message.get("role") == "assistant" and not message.get("tool_calls"):
        yield Problem(line, f"{where}.content", "empty_answer")


def _check_steps(line: int, value: dict[str, Any]) -> Iterator[Problem]:
    steps = value["reasoning_steps"]
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) for step in steps):
        yield Problem(line, "reasoning_steps", "not_a_list_of_texts", {"found": type(steps).__name__})


def _check_scores(line: int, value: dict[str, Any]) -> Iterator[Problem]:
    completions, scores = value["completions"], value["scores"]
    if not isinstance(completions, list) or not all(isinstance(text, str) for text in completions):
        yield Problem(line, "completions", "not_a_list_of_texts", {"found": type(completions).__name__})
    elif not isinstance(scores, list) or not all(isinstance(s, int | float) for s in scores):
        yield Problem(line, "scores", "not_numbers", {"found": type(scores).__name__})
    elif not completions or len(completions) != len(scores):
        yield Problem(line, "scores", "scores_do_not_match", {"completions": len(completions), "scores": len(scores)})


def _check_pair(line: int, value: dict[str, Any]) -> Iterator[Problem]:
    if value["chosen"] == value["rejected"]:
        yield Problem(line, "rejected", "answers_equal", severity="warning")


_MORE_CHECKS = {"reasoning": _check_steps, "scored": _check_scores, "preference": _check_pair}


def usable_rows(rows: Iterable[Row], kinds: Iterable[str]) -> tuple[list[Row], list[Problem]]:
    """Return the rows without an error and of a wanted kind, and why the others are left out."""
    wanted = set(kinds)
    usable: list[Row] = []
    problems: list[Problem] = []
    for row in rows:
        found = [p for p in check_row(row) if p.severity == "error"]
        kind = row_kind(row.value)
        if not found and kind not in wanted:
            found = [Problem(row.line, "", "kind_not_for_method", {"kind": kind})]
        if not found and kind == "kto" and not row.value["label"]:
            found = [Problem(row.line, "label", "labelled_bad")]
        if found:
            problems += found
        else:
            usable.append(row)
    return usable, problems
