"""Synthetic rows: what is asked, which answers fit, which rows are kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunesmith.data.formats import Row, row_kind
from tunesmith.data.synthesis import KINDS, BadAnswerError, RowFilter, ask_for, read_answer, split_source
from tunesmith.data.validation import check_row

TURNS = [{"role": role, "content": f"text {n}"} for n, role in enumerate(("user", "assistant") * 2)]
GOOD: dict[str, tuple[dict[str, Any], str]] = {
    "qa": ({"question": "Where?", "answer": "Here"}, "prompt_answer"),
    "instruction": ({"instruction": "Do it", "response": "Done"}, "prompt_completion"),
    "chat": ({"messages": TURNS}, "messages"),
    "summary": ({"summary": "Short."}, "prompt_completion"),
    "preference": ({"question": "Why?", "good_answer": "Because", "worse_answer": "No idea"}, "preference"),
}  # fmt: skip


def test_there_is_an_answer_of_every_kind() -> None:
    assert set(GOOD) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["{}", "```json\n{}\n```", "Sure! Here it is: {} I hope it helps.", "{{wrong}} {}"])
def test_an_answer_becomes_a_usable_row(kind: str, form: str) -> None:
    made, expected = GOOD[kind]
    row = read_answer(kind, form.replace("{}", json.dumps(made)).replace("{{", "{").replace("}}", "}"), "The source.")
    assert row_kind(row) == expected
    assert check_row(Row(1, row)) == []


@pytest.mark.parametrize(
    ("kind", "answer", "code"),
    [
        ("qa", "I cannot do that.", "no_json"), ("qa", "", "no_json"), ("qa", '{"question": "Where?"', "no_json"),
        ("qa", '{"question": "Where?"}', "wrong_shape"), ("qa", '{"question": "Where?", "answer": " "}', "wrong_shape"),
        ("qa", '{"question": "Where?", "answer": 3}', "wrong_shape"), ("qa", "{" * 20_000, "no_json"),
        ("chat", json.dumps({"messages": TURNS[::-1]}), "wrong_shape"), ("chat", json.dumps({"messages": TURNS[:2]}), "wrong_shape"),
        ("preference", '{"question": "Why?", "good_answer": "So", "worse_answer": "So"}', "equal_answers"),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_named(kind: str, answer: str, code: str) -> None:
    with pytest.raises(BadAnswerError) as caught:
        read_answer(kind, answer, "s")
    assert caught.value.code == code
    assert caught.value.reason


def test_the_question_holds_schema_source_and_complaints() -> None:
    messages = ask_for("qa", "The shop opens at 9.", "ja", [("nonsense", "there is no JSON object in it.")])
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    assert "日本語" in messages[0]["content"]
    assert '"required": ["question", "answer"]' in messages[0]["content"]
    assert "The shop opens at 9." in messages[1]["content"]
    assert "no JSON object" in messages[3]["content"]


def test_a_document_is_cut_at_paragraphs_and_sentences() -> None:
    text = "One two. Three four.\n\nFive.\n\n" + "あいうえお。" * 10
    pieces = split_source(text, most_characters=40)
    assert pieces[0] == "One two. Three four.\n\nFive.\n\nあいうえお。"
    assert all(len(piece) <= 40 and piece.endswith("。") for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert split_source("x" * 100, 40) == ["x" * 40, "x" * 40, "x" * 20]
    assert split_source(" \n\n ") == []


def test_repeats_and_leaks_are_refused() -> None:
    long = "the quick brown fox jumps over the lazy dog near the old stone bridge"
    kept = RowFilter(
        0.8,
        [{"prompt": long, "answer": "yes"}],
        [{"prompt": "Is it in the test?", "answer": "it is"}, {"prompt": long[::-1], "answer": "no"}],
    )
    assert kept.reason({"prompt": long + "s", "answer": "yes"}) == "near_duplicate"
    assert kept.reason({"prompt": "is it in  the TEST?", "answer": "another answer"}) == "leaks_into_test"
    assert kept.reason({"prompt": long[::-1] + "s", "answer": "no"}) == "leaks_into_test"
    assert kept.reason({"prompt": "Something else entirely", "answer": "42"}) == ""
    assert kept.reason({"prompt": "Something else entirely", "answer": "42"}) == "near_duplicate"
    of_prompts = RowFilter(0.8, [], [{"prompt": "Is it in the test?", "level": 3}])
    assert of_prompts.reason({"prompt": "Is it in the test?", "answer": "it is"}) == "leaks_into_test"
    assert of_prompts.reason({"prompt": "Is it in the test?"}) == "leaks_into_test"
    assert of_prompts.reason({"prompt": "Something else entirely"}) == ""
