"""Rows in, problems by line, splits without leaks: facts derived by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.data.formats import Row, as_messages, parse_rows, read_rows, row_kind
from tunesmith.data.library import find_splits
from tunesmith.data.split import split_rows
from tunesmith.data.statistics import count_duplicates, count_kinds
from tunesmith.data.validation import find_problems, usable_rows
from tunesmith.errors import UserError

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}


def codes(value: dict[str, object]) -> list[tuple[str, str]]:
    return [(p.code, p.field) for p in find_problems([Row(1, value)])]


def test_lines_are_counted_from_one_and_empty_ones_skipped() -> None:
    read = parse_rows('\ufeff{"text": "a"}\n\n{"text": "b"}\nnot json\n[1]\n'.encode(), "x.jsonl")
    assert [(r.line, r.value["text"]) for r in read.rows] == [(1, "a"), (3, "b")]
    assert [(p.line, p.code) for p in read.problems] == [(4, "not_json"), (5, "not_an_object")]


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_an_empty_file_is_named(content: bytes) -> None:
    with pytest.raises(UserError) as caught:
        parse_rows(content, "mine.jsonl")
    assert (caught.value.code, caught.value.facts) == ("data_file_empty", {"file": "mine.jsonl"})


def test_another_encoding_is_refused_with_its_line() -> None:
    with pytest.raises(UserError) as caught:
        parse_rows(b'{"text": "a"}\n' + '{"text": "東京"}'.encode("shift_jis"), "sjis.jsonl")
    assert (caught.value.code, caught.value.facts["line"]) == ("data_not_utf8", 2)


def test_budgets_hold(tmp_path: Path) -> None:
    file = tmp_path / "big.jsonl"
    file.write_bytes(b'{"text": "a"}\n' * 10)
    with pytest.raises(UserError) as caught:
        read_rows(file, budget_bytes=100)
    assert caught.value.code == "data_file_too_large"
    with pytest.raises(UserError) as caught:
        read_rows(file, budget_rows=9)
    assert caught.value.code == "data_too_many_rows"
    assert len(read_rows(file, budget_rows=10).rows) == 10


def test_deep_nesting_is_a_problem_and_no_crash() -> None:
    read = parse_rows(b'{"a":' * 5000 + b"1" + b"}" * 5000, "deep.jsonl")
    assert [p.code for p in read.problems] == ["not_json"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (CHAT, "messages"), ({"prompt": "a", "completion": "b"}, "prompt_completion"), ({"prompt": "a", "answer": "b"}, "prompt_answer"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference"), ({"text": "a"}, "text"), ({"x": 1}, "unknown"),
    ],
)  # fmt: skip
def test_kinds(value: dict[str, object], kind: str) -> None:
    assert row_kind(value) == kind
    assert [m["role"] for m in as_messages(value)] == ([] if kind in {"text", "unknown"} else ["user", "assistant"])


def test_problems_name_the_field() -> None:
    assert codes(CHAT) == []
    assert codes({"messages": []}) == [("no_messages", "messages")]
    assert codes({"messages": [{"role": "user", "content": "x"}]}) == [("no_assistant_turn", "messages")]
    assert codes({"messages": [{"role": "human", "content": "x"}, {"role": "assistant", "content": " "}]}) == [
        ("unknown_role", "messages[1].role"),
        ("empty_answer", "messages[2].content"),
    ]
    assert codes({"messages": ["x"]}) == [("not_a_message", "messages[1]"), ("no_assistant_turn", "messages")]
    assert codes({"prompt": "x", "completion": None}) == [("not_text", "completion")]
    assert codes({"text": ""}) == [("empty_text", "text")]
    assert codes({"foo": 1}) == [("unknown_kind", "")]
    trailing = {"messages": [*CHAT["messages"], {"role": "user", "content": "Bye"}]}
    assert codes(trailing) == [("last_turn_not_assistant", "messages")]


def test_what_is_left_out_is_said() -> None:
    rows = [Row(1, CHAT), Row(2, {"text": ""}), Row(3, {"prompt": "a", "chosen": "b", "rejected": "c"})]
    usable, problems = usable_rows(rows, ("messages", "text"))
    assert [r.line for r in usable] == [1]
    assert [(p.line, p.code) for p in problems] == [(2, "empty_text"), (3, "kind_not_for_method")]


def test_a_split_is_seeded_and_leaks_nothing() -> None:
    rows = [Row(n, {"text": f"row {n % 20}"}) for n in range(60)]  # every text three times
    train, valid = split_rows(rows, 0.1, seed=4)
    assert len(valid) == 6  # two of twenty texts
    assert {r.value["text"] for r in train}.isdisjoint(r.value["text"] for r in valid)
    assert sorted(r.line for r in train + valid) == list(range(60))
    assert split_rows(rows, 0.1, seed=4) == (train, valid)
    assert split_rows(rows, 0.1, seed=5) != (train, valid)
    assert split_rows(rows, 0.0, seed=4) == (rows, [])
    assert split_rows(rows[:1], 0.5, seed=4) == (rows[:1], [])


def test_counts() -> None:
    rows = [Row(1, {"text": "a"}), Row(2, {"text": "a"}), Row(3, CHAT)]
    assert count_kinds(rows) == {"text": 2, "messages": 1}
    assert count_duplicates(rows) == 1


def test_splits_of_a_folder_and_of_a_file(tmp_path: Path) -> None:
    for name in ("train.jsonl", "test.jsonl", "notes.txt"):
        (tmp_path / name).write_text("x")
    assert list(find_splits(tmp_path)) == ["train", "test"]
    assert find_splits(tmp_path / "notes.txt") == {"train": tmp_path / "notes.txt"}
