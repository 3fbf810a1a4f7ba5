"""What a row is: its kinds, the columns that each kind has, and the conversation in it. Knows no files, no tokenizer and no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, NamedTuple

Message = dict[str, Any]


class Row(NamedTuple):
    """One row and the line that it stands in, counted from 1."""

    line: int
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True)
class RowKind:
    """A kind of row by its columns: those that make it, those of them that hold text, and the methods that can learn from it."""

    columns: tuple[str, ...]
    texts: tuple[str, ...]
    methods: tuple[str, ...]
    optional: tuple[str, ...] = ()


SFT, PREFERENCE, POLICY = ("sft",), ("dpo", "orpo"), ("grpo", "gspo", "dr_grpo", "dapo")

# The first kind whose columns a row has is its kind; any other column is kept and means nothing.
KINDS = {
    "messages": RowKind(("messages",), (), (*SFT, *POLICY), ("tools",)),
    "preference": RowKind(("chosen", "rejected"), ("chosen", "rejected"), PREFERENCE, ("prompt", "system")),
    "scored": RowKind(("prompt", "completions", "scores"), ("prompt",), SFT, ("system",)),
    "kto": RowKind(("prompt", "completion", "label"), ("prompt", "completion"), SFT, ("system",)),
    "prompt_completion": RowKind(("prompt", "completion"), ("prompt", "completion"), (*SFT, *POLICY), ("system",)),
    "reasoning": RowKind(("prompt", "reasoning_steps", "answer"), ("prompt", "answer"), (*SFT, *POLICY), ("system",)),
    "prompt_answer": RowKind(("prompt", "answer"), ("prompt", "answer"), (*SFT, *POLICY), ("system",)),
    "text": RowKind(("text",), ("text",), SFT),
    "prompt": RowKind(("prompt",), ("prompt",), POLICY, ("system",)),
}


def row_kind(value: Mapping[str, Any]) -> str:
    """Return the row's kind, a key of `KINDS`, or `unknown`. A label that is no yes or no is a column like any other."""
    for name, kind in KINDS.items():
        if all(column in value for column in kind.columns) and (name != "kto" or isinstance(value["label"], bool)):
            return name
    return "unknown"


def methods_of(kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the methods that can learn from at least one of the kinds."""
    found = {method for kind in kinds if kind in KINDS for method in KINDS[kind].methods}
    return tuple(method for method in (*SFT, *PREFERENCE, *POLICY) if method in found)


def as_messages(value: Mapping[str, Any]) -> list[Message]:
    """Return a row as a conversation, empty when it is none (`text`, `unknown`); of several answers, the best."""
    kind = row_kind(value)
    if kind == "messages":
        return list(value["messages"])
    answer = _answer(kind, value)
    if answer is None:
        return []
    prompt = value.get("prompt", "")
    turns = list(prompt) if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    if value.get("system") and not (turns and turns[0].get("role") == "system"):
        turns.insert(0, {"role": "system", "content": value["system"]})
    return [*turns, {"role": "assistant", "content": answer}]


def as_prompt(value: Mapping[str, Any], system: str = "") -> list[Message]:
    """Return what a row asks: its conversation up to the last answer, empty when it asks nothing; `system` is put before, if none is."""
    if row_kind(value) == "prompt":
        turns = as_messages({**value, "completion": ""})[:-1]
    else:
        turns = as_messages(value)
        while turns and turns[-1].get("role") == "assistant":
            turns.pop()
    if system and turns and turns[0].get("role") != "system":
        turns.insert(0, {"role": "system", "content": system})
    return turns


def row_answer(value: Mapping[str, Any]) -> str | None:
    """Return the answer that a row gives to what it asks: its `answer` column, else the assistant's last turn; None without any."""
    if isinstance(value.get("answer"), str | int | float):
        return str(value["answer"])
    turns = as_messages(value)
    return str(turns[-1]["content"]) if turns and turns[-1].get("role") == "assistant" else None


def _answer(kind: str, value: Mapping[str, Any]) -> str | None:
    if kind == "scored":
        best = max(range(len(value["scores"])), key=lambda i: value["scores"][i])
        return str(value["completions"][best])
    if kind == "reasoning":
        return "\n".join([*value["reasoning_steps"], value["answer"]])
    name = {"prompt_completion": "completion", "kto": "completion", "prompt_answer": "answer", "preference": "chosen"}.get(kind)
    return value[name] if name else None
