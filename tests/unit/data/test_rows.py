"""Kinds of rows, their problems by line, splits without leaks: facts derived by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tunesmith.data.formats import KINDS, Row, as_messages, methods_of, row_kind
from tunesmith.data.library import find_splits
from tunesmith.data.row_files import RowFile, read_splits
from tunesmith.data.split import SplitRules, assign_splits, prompt_key, split_rows
from tunesmith.data.validation import find_problems, usable_rows
from tunesmith.errors import UserError

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
EXAMPLES = {
    "messages": CHAT,
    "preference": {"prompt": "a", "chosen": "b", "rejected": "c"},
    "scored": {"prompt": "a", "completions": ["x", "best"], "scores": [0.1, 0.9]},
    "kto": {"prompt": "a", "completion": "b", "label": True},
    "prompt_completion": {"prompt": "a", "completion": "b"},
    "reasoning": {"prompt": "a", "reasoning_steps": ["one", "two"], "answer": "3"},
    "prompt_answer": {"prompt": "a", "answer": "b"},
    "text": {"text": "a"},
    "prompt": {"prompt": "a"},
}
ANSWERS = {
    "messages": "Hello", "preference": "b", "scored": "best", "kto": "b", "prompt_completion": "b", "reasoning": "one\ntwo\n3",
    "prompt_answer": "b",
}  # fmt: skip


def codes(value: dict[str, object]) -> list[tuple[str, str]]:
    return [(p.code, p.field) for p in find_problems([Row(1, value)])]


def test_there_is_an_example_of_every_kind() -> None:
    assert set(EXAMPLES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str) -> None:
    value = EXAMPLES[kind]
    assert row_kind(value) == kind
    assert codes(value) == []
    messages = as_messages(value)
    assert [m["role"] for m in messages] == ([] if kind in {"text", "prompt"} else ["user", "assistant"])
    assert not messages or messages[-1]["content"] == ANSWERS[kind]


def test_other_columns_change_nothing() -> None:
    assert row_kind({"x": 1}) == "unknown"
    assert row_kind({"prompt": "a", "completion": "b", "label": "spam"}) == "prompt_completion"  # a label that is no yes or no
    assert row_kind({"text": "t", "prompt": "a", "completion": "b"}) == "prompt_completion"


def test_a_system_column_begins_the_conversation() -> None:
    assert [m["role"] for m in as_messages({"system": "s", "prompt": "a", "answer": "b"})] == ["system", "user", "assistant"]


def test_a_prompt_of_messages_is_kept() -> None:
    value = {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}], "chosen": "b", "rejected": "c"}
    assert codes(value) == []
    assert [m["content"] for m in as_messages(value)] == ["s", "q", "b"]


def test_methods_of_kinds() -> None:
    assert methods_of(["prompt_answer"]) == ("sft", "grpo", "gspo", "dr_grpo", "dapo")
    assert methods_of(["preference", "text", "unknown"]) == ("sft", "dpo", "orpo")


def test_problems_name_the_field() -> None:
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
    assert codes({"prompt": "a", "completions": ["x"], "scores": [1, 2]}) == [("scores_do_not_match", "scores")]
    assert codes({"prompt": "a", "reasoning_steps": "x", "answer": "b"}) == [("not_a_list_of_texts", "reasoning_steps")]
    assert codes({"prompt": "a", "chosen": "b", "rejected": "b"}) == [("answers_equal", "rejected")]
    assert codes({"prompt": "a", "completion": "b", "system": 1}) == [("not_text", "system")]


def test_an_assistant_that_calls_a_tool_may_say_nothing() -> None:
    called = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    assert codes({"messages": [{"role": "user", "content": "x"}, called]}) == []


def test_what_is_left_out_is_said() -> None:
    bad_example = {"prompt": "a", "completion": "b", "label": False}
    rows = [Row(1, CHAT), Row(2, {"text": ""}), Row(3, EXAMPLES["preference"]), Row(4, bad_example)]
    usable, problems = usable_rows(rows, ("messages", "text", "kto"))
    assert [r.line for r in usable] == [1]
    assert [(p.line, p.code) for p in problems] == [(2, "empty_text"), (3, "kind_not_for_method"), (4, "labelled_bad")]


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


def test_validation_asks_nothing_that_is_trained() -> None:
    rows = [Row(n, {"prompt": f"Question {n % 20}", "chosen": f"good {n}", "rejected": f"bad {n}"}) for n in range(80)]  # 20 prompts x 4
    train, valid = split_rows(rows, 0.1, seed=3)
    assert (len(train), len(valid)) == (72, 8)  # two prompts
    assert {r.value["prompt"] for r in train}.isdisjoint(r.value["prompt"] for r in valid)
    assert len(split_rows(rows, 0.01, seed=3)[1]) == 4  # one prompt at least, with all of its rows
    frequent = [Row(n, {"prompt": "Go on." if n < 90 else str(n), "completion": str(n)}) for n in range(100)]
    assert {len(split_rows(frequent, 0.1, seed)[1]) for seed in range(20)} == {10}  # what most rows ask stays in training


def test_splits_by_share_and_by_count() -> None:
    keys = [str(n).encode() for n in range(100)]
    assert Counter(assign_splits(keys, [""] * 100, SplitRules(valid=0.1, test=5))) == {"train": 85, "valid": 10, "test": 5}
    first, again = (assign_splits(keys, [""] * 100, SplitRules(seed=seed)) for seed in (1, 1))
    assert first == again
    assert first != assign_splits(keys, [""] * 100, SplitRules(seed=2))
    with pytest.raises(UserError) as caught:
        assign_splits(keys, [""] * 100, SplitRules(valid=60, test=40))
    assert caught.value.code == "split_too_large"


def test_a_stratified_split_keeps_the_shares() -> None:
    strata = ["rare"] * 20 + ["common"] * 80
    found = assign_splits([str(n).encode() for n in range(100)], strata, SplitRules(valid=0.1, test=0.2))
    assert Counter(zip(strata, found, strict=True)) == {
        ("rare", "train"): 14, ("rare", "valid"): 2, ("rare", "test"): 4,
        ("common", "train"): 56, ("common", "valid"): 8, ("common", "test"): 16,
    }  # fmt: skip


def test_rows_of_one_prompt_stay_together() -> None:
    rows = [{"prompt": f"Question {n % 10}" + " " * (n % 3), "completion": str(n)} for n in range(100)]  # each prompt ten times
    keys = [prompt_key(row) for row in rows]
    assert len(set(keys)) == 10
    found = assign_splits(keys, [""] * 100, SplitRules(valid=20))
    assert Counter(found) == {"train": 80, "valid": 20}
    assert all(len({found[i] for i in range(100) if keys[i] == key}) == 1 for key in set(keys))


def test_the_prompt_of_a_conversation_ends_at_its_first_answer() -> None:
    one = {"messages": [{"role": "user", "content": "Hello  there"}, {"role": "assistant", "content": "1"}]}
    assert prompt_key(one) == prompt_key({"prompt": "hello there", "completion": "2"})
    assert prompt_key({"text": "a"}) != prompt_key({"text": "b"})
    assert prompt_key({"text": "a", "id": 1}) == prompt_key({"id": 1, "text": "a"})
    assert prompt_key({"prompt": "x", "id": 1}) == prompt_key({"prompt": "x", "id": 2}) != prompt_key({"prompt": "y", "id": 1})


def test_splits_of_a_folder_and_of_a_file(tmp_path: Path) -> None:
    for name in ("train.jsonl", "test.jsonl", "notes.txt"):
        (tmp_path / name).write_text("x")
    assert list(find_splits(tmp_path)) == ["train", "test"]
    assert find_splits(tmp_path / "notes.txt") == {"train": tmp_path / "notes.txt"}


def test_a_page_of_a_file_is_found_by_its_place(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"text": "a"}\n\n{"text": "b"}\nbroken\n{"text": "\xe6\x9d\xb1\xe4\xba\xac C"}')
    rows = RowFile(file)
    assert len(rows) == 4  # lines with text
    assert [(r.line, r.value["text"]) for r in rows.page(0, 2)] == [(1, "a"), (3, "b")]
    assert [r.line for r in rows.page(2, 5)] == [5]
    assert [r.line for r in rows.search("東京 c", 9)] == [5]
    assert [r.line for r in rows] == [1, 3, 5]


def test_a_folder_of_people_is_read_under_our_names(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"instruction": "Add.", "input": "1+1", "output": "2"}\n{"x": 1}\n')
    (tmp_path / "dev.csv").write_text("question,answer\nWhy?,Because.\n")
    found = read_splits(tmp_path)
    assert [r.value for r in found["train"].rows] == [{"prompt": "Add.\n\n1+1", "completion": "2"}]
    assert [(p.line, p.code) for p in found["train"].problems] == [(2, "unknown_kind")]
    assert [r.value for r in found["valid"].rows] == [{"prompt": "Why?", "answer": "Because."}]
    assert list(read_splits(tmp_path, ("valid",))) == ["valid"]
