"""Rows as people have them, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.data.formats import Row, row_kind
from tunesmith.data.row_kinds import ColumnMapping, canonical_row, mapping_of, suggest_mapping
from tunesmith.data.validation import check_row
from tunesmith.errors import UserError

Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
SHAREGPT = {"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
CASES: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"messages": [Q, A]}, "messages", {"messages": [Q, A]}),
    ({"messages": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'}, "messages", {"messages": [Q, A]}),
    ({"messages": ["q", "a"]}, "messages", {"messages": [Q, A]}),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, A]}, "messages", {"messages": [Q, A]}),
    (SHAREGPT, "messages", {"messages": [{"role": "system", "content": "s"}, Q, A]}),
    ({"conversation": [{"from": "function_call", "value": "f"}]}, "messages", {"messages": [{"role": "assistant", "content": "f"}]}),
    ({"prompt": "q", "completion": "a"}, "prompt_completion", {"prompt": "q", "completion": "a"}),
    ({"Prompt": "q", "Completion": "a"}, "prompt_completion", {"prompt": "q", "completion": "a"}),
    ({"input": "q", "output": "a"}, "prompt_completion", {"prompt": "q", "completion": "a"}),
    ({"instruction": "i", "input": "x", "output": "a"}, "prompt_completion", {"prompt": "i\n\nx", "completion": "a"}),
    ({"instruction": "i", "input": "", "output": "a"}, "prompt_completion", {"prompt": "i", "completion": "a"}),
    ({"instruction": "i", "context": "c", "response": "a"}, "prompt_completion", {"prompt": "i\n\nc", "completion": "a"}),
    ({"指示": "i", "入力": "x", "出力": "a"}, "prompt_completion", {"prompt": "i\n\nx", "completion": "a"}),
    ({"user": "q", "assistant": "a"}, "prompt_completion", {"prompt": "q", "completion": "a"}),
    ({"query": "q", "response": "a"}, "prompt_completion", {"prompt": "q", "completion": "a"}),
    ({"question": "q", "answer": 42}, "prompt_answer", {"prompt": "q", "answer": "42"}),
    ({"質問": "q", "回答": "a"}, "prompt_answer", {"prompt": "q", "answer": "a"}),
    ({"prompt": "q", "answer": "a", "level": 3}, "prompt_answer", {"prompt": "q", "answer": "a", "level": 3}),
    (
        {"problem": "q", "reasoning_steps": ["1", "2"], "solution": "a"}, "reasoning",
        {"prompt": "q", "reasoning_steps": ["1", "2"], "answer": "a"},
    ),
    ({"problem": "q", "steps": "1\n2\n", "answer": 7.0}, "reasoning", {"prompt": "q", "reasoning_steps": ["1", "2"], "answer": "7"}),
    ({"prompt": "q", "chosen": "a", "rejected": "b"}, "preference", {"prompt": "q", "chosen": "a", "rejected": "b"}),
    (
        {"chosen": [Q, A], "rejected": [Q, {"role": "assistant", "content": "b"}]}, "preference",
        {"prompt": "q", "chosen": "a", "rejected": "b"},
    ),
    (
        {"prompt": [Q], "chosen": [A], "rejected": [{"role": "assistant", "content": "b"}]}, "preference",
        {"prompt": "q", "chosen": "a", "rejected": "b"},
    ),
    (
        {"prompt": "q", "chosen": [A], "rejected": [{"role": "assistant", "content": "b"}]}, "preference",
        {"prompt": "q", "chosen": "a", "rejected": "b"},
    ),
    (
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}, "preference",
        {"prompt": "q", "chosen": "a", "rejected": "b"},
    ),
    ({"prompt": "q", "completion": "a", "label": "true"}, "kto", {"prompt": "q", "completion": "a", "label": True}),
    ({"prompt": "q", "completion": "a", "label": 0}, "kto", {"prompt": "q", "completion": "a", "label": False}),
    ({"prompt": "q", "completion": [A], "label": True}, "kto", {"prompt": "q", "completion": "a", "label": True}),
    (
        {"prompt": "q", "completions": ["a", "b"], "scores": [1, 0]}, "scored",
        {"prompt": "q", "completions": ["a", "b"], "scores": [1, 0]},
    ),
    ({"messages": [Q, A], "tools": '[{"name": "f"}]'}, "messages", {"messages": [Q, A], "tools": [{"name": "f"}]}),
    ({**SHAREGPT, "tools": ""}, "messages", {"messages": [{"role": "system", "content": "s"}, Q, A], "tools": []}),
    ({"messages": [Q, A], "tools": None}, "messages", {"messages": [Q, A]}),
    ({"text": "t"}, "text", {"text": "t"}),
    ({"本文": "t"}, "text", {"text": "t"}),
    ({"messages": None, "text": "t"}, "text", {"messages": None, "text": "t"}),
    ({"instruction": "i", "output": "a", "text": "i a"}, "prompt_completion", {"prompt": "i", "completion": "a", "text": "i a"}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kind", "expected"), CASES, ids=lambda part: str(part)[:60])
def test_known_shapes(value: dict[str, Any], kind: str, expected: dict[str, Any]) -> None:
    found, canonical, problems = canonical_row(Row(1, value))
    assert problems == []
    assert canonical is not None
    assert (found, {name: part for name, part in canonical.items() if part is not None or name in expected}) == (kind, expected)
    assert row_kind({k: v for k, v in canonical.items() if v is not None}) == kind
    again = canonical_row(Row(1, canonical))
    assert again[1] == canonical  # what is ours stays as it is


def test_a_canonical_row_is_the_same_object() -> None:
    value = {"messages": [Q, A], "source": "x"}
    assert canonical_row(Row(1, value))[1] is value


@pytest.mark.parametrize(
    ("value", "code", "field"),
    [
        ({"x": 1}, "unknown_kind", ""),
        ({"messages": "[{"}, "not_json", "messages"),
        ({"messages": {"role": "user"}}, "not_a_conversation", "messages"),
        ({"messages": [Q, 3]}, "not_a_message", "messages[2]"),
        ({"messages": [Q, A], "tools": "junk"}, "not_tools", "tools"),
        ({"messages": [Q, A], "tools": ["f"]}, "not_tools", "tools"),
        ({"conversations": [{"from": "alien", "value": "q"}, {"from": "gpt", "value": "a"}]}, "unknown_role", "messages[1].role"),
        ({"prompt": "q", "completion": "a", "label": "perhaps"}, "label_not_boolean", "label"),
        ({"prompt": "q", "completions": "a", "scores": ["x"]}, "not_numbers", "scores"),
        ({"problem": "q", "steps": 3, "solution": "a"}, "not_a_list_of_texts", "steps"),
        ({"chosen": "a", "rejected": "b"}, "column_missing", "prompt"),
        ({"chosen": [Q, A, Q, A], "rejected": [Q, A]}, "preference_not_one_answer", "chosen"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_named(value: dict[str, Any], code: str, field: str) -> None:
    kind, canonical, problems = canonical_row(Row(7, value))
    if canonical is not None:
        problems = problems + check_row(Row(7, canonical), kind)
    assert (problems[0].line, problems[0].code, problems[0].field) == (7, code, field)
    assert all(p.severity == "error" for p in problems)


def test_a_mapping_says_which_column_is_what() -> None:
    mapping = mapping_of({"kind": "prompt_completion", "columns": {"prompt": "お客様", "completion": "reply text", "system": ""}})
    assert mapping == ColumnMapping("prompt_completion", {"prompt": "お客様", "completion": "reply text"})
    assert mapping_of(mapping.as_record()) == mapping
    value = {"お客様": "q", "reply text": "a", "id": 3}
    assert canonical_row(Row(1, value), mapping) == ("prompt_completion", {"prompt": "q", "completion": "a", "id": 3}, [])
    _, canonical, problems = canonical_row(Row(2, {"お客様": "q"}), mapping)
    assert canonical is None
    assert [(p.code, p.field) for p in problems] == [("column_missing", "reply text")]


def test_a_column_of_another_meaning_keeps_out_of_the_way() -> None:
    mapping = mapping_of({"kind": "text", "columns": {"text": "body"}})
    _, canonical, _ = canonical_row(Row(1, {"body": "t", "messages": "three", "id": 1}), mapping)
    assert canonical == {"text": "t", "source_messages": "three", "id": 1}


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"kind": "nonsense"}, "mapping_kind_unknown"), ({"kind": "text", "columns": {}}, "mapping_role_missing"),
        ({"kind": "text", "columns": {"text": "a", "prompt": "b"}}, "mapping_role_unknown"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_refused(record: dict[str, Any], code: str) -> None:
    with pytest.raises(UserError) as caught:
        mapping_of(record)
    assert caught.value.code == code


def test_a_mapping_is_suggested() -> None:
    assert suggest_mapping(["id", "Question", "Answer"]) == ColumnMapping("prompt_answer", {"prompt": "Question", "answer": "Answer"})
    rows = [{"id": "1", "kundenfrage": "Wie lange dauert es?", "antwort": "Drei Tage."}]
    assert suggest_mapping(list(rows[0]), rows) == ColumnMapping("prompt_completion", {"prompt": "kundenfrage", "completion": "antwort"})
    assert suggest_mapping(["n", "body"], [{"n": 1, "body": "x"}]) == ColumnMapping("text", {"text": "body"})
    assert suggest_mapping(["n"], [{"n": 1}]) is None
