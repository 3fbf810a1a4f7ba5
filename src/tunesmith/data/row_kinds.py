"""Rows as people have them to rows under our own column names, by known shapes or by the mapping that a person chose. Knows no files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from tunesmith.data.conversations import as_conversation, split_preference
from tunesmith.data.formats import KINDS, Problem, Row, row_kind
from tunesmith.data.validation import ROLES
from tunesmith.errors import UserError

Found = tuple[str, dict[str, Any] | None, list[Problem]]
TRUE, FALSE = {"true", "1", "yes", "good", "desirable", "thumbs_up", "👍", "良い", "はい"}, {
    "false", "0", "no", "bad", "undesirable", "thumbs_down", "👎", "悪い", "いいえ",
}  # fmt: skip


@dataclass(frozen=True)
class ColumnMapping:
    """Which column plays which role of a kind; a role without a column is left out."""

    kind: str
    columns: Mapping[str, str] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """Return plain values, as `mapping_of` reads them."""
        return {"kind": self.kind, "columns": dict(self.columns)}


def mapping_of(record: Mapping[str, Any]) -> ColumnMapping:
    """Return the mapping in a record. Raises UserError `mapping_kind_unknown`, `mapping_role_missing`, `mapping_role_unknown`."""
    kind = str(record.get("kind"))
    if kind not in KINDS:
        raise UserError("mapping_kind_unknown", kind=kind, known=", ".join(KINDS))
    columns = {str(role): str(column) for role, column in dict(record.get("columns") or {}).items() if column}
    for role in KINDS[kind].columns:
        if role not in columns:
            raise UserError("mapping_role_missing", kind=kind, role=role)
    for role in columns:
        if role not in roles_of(kind):
            raise UserError("mapping_role_unknown", kind=kind, role=role, known=", ".join(roles_of(kind)))
    return ColumnMapping(kind, columns)


def roles_of(kind: str) -> tuple[str, ...]:
    """Return the roles that columns can play in a kind, the necessary ones first. `context` stands below the prompt."""
    context = ("context",) if "prompt" in (*KINDS[kind].columns, *KINDS[kind].optional) else ()
    return (*KINDS[kind].columns, *KINDS[kind].optional, *context)


# Shapes in the order in which they are tried: the kind, and which column plays which role. Alternatives are divided by |.
SHAPES: tuple[tuple[str, dict[str, str]], ...] = (
    ("messages", {"messages": "messages|conversations|conversation|dialogue|会話", "tools": "?tools"}),
    ("preference", {"prompt": "?prompt|question|instruction|input", "chosen": "chosen", "rejected": "rejected", "system": "?system"}),
    ("scored", {"prompt": "prompt|question|instruction", "completions": "completions|responses", "scores": "scores|rewards"}),
    ("kto", {"prompt": "prompt|question|instruction", "completion": "completion|response", "label": "label", "system": "?system"}),
    ("prompt_completion", {"prompt": "prompt", "completion": "completion", "system": "?system"}),
    ("reasoning", {
        "prompt": "problem|prompt|question", "reasoning_steps": "reasoning_steps|steps", "answer": "solution|answer", "system": "?system",
    }),
    ("prompt_answer", {"prompt": "prompt|question|problem|質問|問題", "answer": "answer|solution|回答|答え|解答", "system": "?system"}),
    ("prompt_completion", {
        "prompt": "instruction|指示", "context": "?input|context|入力", "completion": "output|response|出力|応答", "system": "?system",
    }),
    ("prompt_completion", {
        "prompt": "prompt|question|query|input|user|入力|質問", "completion": "response|output|assistant|reply|answer|出力|応答|回答",
        "system": "?system",
    }),
    ("text", {"text": "text|content|document|本文|テキスト|文章"}),
    ("prompt", {"prompt": "prompt|question|problem|質問|問題", "system": "?system"}),
)  # fmt: skip


def suggest_mapping(columns: Iterable[str], rows: Sequence[Mapping[str, Any]] = ()) -> ColumnMapping | None:
    """Return a mapping for columns of any names: a known shape, else the two longest text columns, else the only one; None if none is."""
    names = list(columns)
    known = _shape_of(tuple(names))
    if known and known[0] != "prompt":
        return ColumnMapping(*known)
    lengths = {name: sum(len(v) for row in rows if isinstance(v := row.get(name), str)) for name in names}
    texts = [name for name in names if lengths[name]]
    longest = sorted(sorted(texts, key=lambda n: -lengths[n])[:2], key=names.index)
    if len(longest) == 2:
        return ColumnMapping("prompt_completion", {"prompt": longest[0], "completion": longest[1]})
    if known:
        return ColumnMapping(*known)
    return ColumnMapping("text", {"text": longest[0]}) if longest else None


@lru_cache(maxsize=4096)
def _shape_of(columns: tuple[str, ...]) -> tuple[str, dict[str, str]] | None:
    """Return (kind, column by role) of the first shape whose necessary roles all have a column."""
    names = {column.strip().lower(): column for column in reversed(columns)}
    for kind, roles in SHAPES:
        found = {role: next((names[n] for n in wanted.lstrip("?").split("|") if n in names), "") for role, wanted in roles.items()}
        if all(found[role] or roles[role].startswith("?") for role in roles):
            return kind, {role: column for role, column in found.items() if column}
    return None


def canonical_row(row: Row, mapping: ColumnMapping | None = None) -> Found:
    """Return (kind, row under our column names, what is wrong with it); the row is None when it cannot be told what it is.

    Without a mapping each row is looked at by itself. A row that is canonical comes back as the same object.
    """
    value = row.value
    if mapping is None:
        found = _shape_of(tuple(value)) if None not in value.values() else _shape_of(tuple(k for k, v in value.items() if v is not None))
        if found is None:
            return "unknown", None, [Problem(row.line, "", "unknown_kind", {"columns": ", ".join(sorted(value))[:200] or "–"})]
        kind, columns = found
    else:
        kind, columns = mapping.kind, dict(mapping.columns)
        for column in (columns[role] for role in KINDS[kind].columns):
            if column not in value:
                return kind, None, [Problem(row.line, column[:100], "column_missing", {"column": column[:100]})]
    if _is_canonical(kind, columns, value):
        return kind, value, []
    return kind, *_build(row, kind, columns)


def _is_canonical(kind: str, columns: Mapping[str, str], value: Mapping[str, Any]) -> bool:
    if any(role != column for role, column in columns.items()):
        return False
    if kind in {"prompt_completion", "prompt_answer", "text"}:
        return all(type(value[column]) is str for column in columns)
    if kind == "messages":
        messages = value["messages"]
        if type(messages) is not list or not _are_tools(value.get("tools") or []):
            return False
        for message in messages:
            if type(message) is not dict or type(message.get("content")) is not str or message.get("role") not in ROLES:
                return False
        return True
    return False


def _build(row: Row, kind: str, columns: Mapping[str, str]) -> tuple[dict[str, Any], list[Problem]]:
    value = {role: row.value.get(column) for role, column in columns.items()}
    extras = {name: part for name, part in row.value.items() if name not in columns.values()}
    problems: list[Problem] = []
    for role in [role for role, part in value.items() if part is None and role not in KINDS[kind].columns]:
        del value[role]
    for role, convert in _CONVERSIONS.get(kind, {}).items():
        if role in value:
            value[role], found = convert(row.line, columns[role], value[role])
            problems += found
    if kind == "preference":
        value, found = split_preference(row.line, value)
        problems += found
    for role in (*KINDS[kind].texts, "prompt", "system", "context"):
        if isinstance(part := value.get(role), int | float):
            value[role] = _plain_number(part)
    if (context := value.pop("context", None)) and isinstance(value["prompt"], str):
        value["prompt"] = f"{value['prompt']}\n\n{context}"
    whole = value | extras
    if row_kind(whole) != kind:  # a column of another meaning bears one of our names
        whole = value | {(f"source_{name}" if name in _OUR_NAMES else name): part for name, part in extras.items()}
    return whole, problems


_OUR_NAMES = {name for kind in KINDS.values() for name in (*kind.columns, *kind.optional)}


def _plain_number(value: float) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def _as_label(line: int, column: str, value: Any) -> tuple[Any, list[Problem]]:
    word = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().lower()
    if word in TRUE or word in FALSE:
        return word in TRUE, []
    return False, [Problem(line, column, "label_not_boolean", {"found": str(value)[:50]})]


def _from_cell(value: Any) -> Any:
    """Return the list that a table's cell holds as JSON text; anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def _as_texts(line: int, column: str, value: Any) -> tuple[Any, list[Problem]]:
    value = _from_cell(value)
    if isinstance(value, str):
        return [part.strip() for part in value.split("\n") if part.strip()], []
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return value, []
    return [], [Problem(line, column, "not_a_list_of_texts", {"found": type(value).__name__})]


def _as_numbers(line: int, column: str, value: Any) -> tuple[Any, list[Problem]]:
    value = _from_cell(value)
    if isinstance(value, list) and value and all(isinstance(part, int | float) and not isinstance(part, bool) for part in value):
        return value, []
    return [], [Problem(line, column, "not_numbers", {"found": type(value).__name__})]


def _are_tools(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(tool, dict) for tool in value)


def _as_tools(line: int, column: str, value: Any) -> tuple[Any, list[Problem]]:
    value = _from_cell(value)
    if isinstance(value, str) and not value.strip():
        return [], []
    return (value, []) if _are_tools(value) else ([], [Problem(line, column, "not_tools", {"found": type(value).__name__})])


def _only_answer(line: int, column: str, value: Any) -> tuple[Any, list[Problem]]:
    """Return the text of an answer that is written as a conversation of one turn (trl's form)."""
    del line, column
    return value[0].get("content") if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) else value, []


_Convert = Callable[[int, str, Any], tuple[Any, list[Problem]]]
_CONVERSIONS: dict[str, dict[str, _Convert]] = {
    "messages": {"messages": as_conversation, "tools": _as_tools},
    "kto": {"label": _as_label, "completion": _only_answer},
    "reasoning": {"reasoning_steps": _as_texts},
    "scored": {"completions": _as_texts, "scores": _as_numbers},
}
