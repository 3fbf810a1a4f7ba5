"""Answers that no one would write, and answers that a model writes to fool a reward."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from tunesmith.errors import UserError
from tunesmith.training.rewards.domains import persona, presets
from tunesmith.training.rewards.junk import LONG_WORDS, JunkScore, junk_for
from tunesmith.training.rewards.registry import REWARDS, build_reward
from tunesmith.training.rewards.spec import Completion, RewardSpec

MANY = 30_000  # enough for what takes the square of a text's length to be noticed
OPTIONS: dict[str, dict[str, Any]] = {
    "pattern": {"pattern": r"^\w+@\w+\.\w+$"},
    "json_schema": {
        "schema": '{"type": "object", "properties": {"a": {"type": "string", "pattern": "^x"}}, "additionalProperties": false}'
    },
    "keywords": {"wanted": ["therefore", "東京"], "forbidden": ["\x00"]},
    "rubric": {"criteria": ["contains: a", "lacks: b", r"matches: \d+$", "words_at_least: 3", "words_at_most: 10"]},
}
ODD_TEXTS = {
    "empty": "", "spaces": "   ", "many spaces": " " * MANY, "line ends": "\n" * MANY, "carriage returns": "\r\n" * (MANY // 2),
    "one word": "a" * MANY, "one kana": "あ" * MANY, "words": "ab " * (MANY // 3), "digits": "7" * MANY, "emoji": "👩‍👩‍👧‍👦" * 2000,
    "controls": "".join(map(chr, range(32))) * 500, "lone surrogates": "\ud800\udfff x" * 2000, "one surrogate": "\ud800", 
    "nul": "\x00" * 1000,
    "right to left": "\u202eمرحبا 16 \u202c" * 1000, "zalgo": "a" + "\u0301\u0316" * 20_000, "separators": "\u2028\x1c\x85" * 10_000,
    "tags alone": "<think></think><answer></answer>", "open tags": "<think>" * 20_000, "answer tags": "<answer>" * 20_000,
    "boxes": "\\boxed{" * 20_000, "marks": "####" * 20_000, "steps": "step\n" * 10_000, "step of spaces": "step" + " " * MANY,
    "steps of spaces": "  step \n\n" * 20_000, "headings": "#" * MANY, "stars": "*" * MANY, "fences": "```" * 20_000,
    "fence of spaces": "```" + " " * MANY, "fence of letters": "```json" + "a" * MANY, "brackets": "[" * MANY, "braces": '{"a":' * 10_000,
    "letters": "A " * (MANY // 2), "brackets of letters": "(A" * (MANY // 2), "pronouns": "I" + " " * MANY, "dots": "." * MANY,
    "an address": "a@" * (MANY // 2), "ligatures": "\ufdfa" * 20_000, "line of commas": "1,234" * 10_000, "a number": "-1.5e+300",
    "a fraction": "1/0", "json": '{"a": "x", "a": 1e308}', "mixed": "<think>\ud83d</think> #### \\boxed{（Ｂ）} ```json {} ```\x00",
}  # fmt: skip
ROWS: list[dict[str, Any]] = [{"answer": "16"}, {"answer": "(B) 東京"}, {}, {"answer": None}, {"answer": ["16"]}, {"answer": "\ud800"}]


@pytest.mark.parametrize("function", REWARDS)
def test_odd_answers_are_judged_in_time(function: str) -> None:
    reward = build_reward(RewardSpec(function, options=OPTIONS.get(function, {})))
    for name, text in ODD_TEXTS.items():
        begin = time.perf_counter()
        for row in ROWS if len(text) < 1000 else ROWS[:1]:
            try:
                value = reward.score(Completion(text, len(text)), row)
            except UserError:
                continue
            assert value is None or math.isfinite(value), (function, name)
        assert time.perf_counter() - begin < 1.0, (function, name)


ROW = {"prompt": "7 + 9 = ?", "answer": "16"}
CHOICE = {"prompt": "What is 7 + 9?\n(A) 15\n(B) 16\n(C) 17\nAnswer with one letter.", "answer": "B"}
STANDING: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "exact_match": (ROW, {}, "16"), "numeric": (ROW, {}, "It is 16."), "multiple_choice": (CHOICE, {}, "(B)"), "f1": (ROW, {}, "16"),
    "format_strict": (ROW, {}, "<think>\na\n</think>\n<answer>\n16\n</answer>"),
    "format_soft": (ROW, {}, "<think>a</think><answer>16</answer>"),
    "json_schema": (ROW, {}, '{"sum": 16}'), "keywords": (ROW, {"wanted": ["sixteen"]}, "sixteen"),
    "rubric": (ROW, {"criteria": ["2 contains: sixteen", "words_at_least: 3", "2 matches: ^The"]}, "The sum is sixteen."),
}  # fmt: skip


@pytest.mark.parametrize("function", STANDING)
def test_junk_earns_little(function: str) -> None:
    row, options, good = STANDING[function]
    reward = build_reward(RewardSpec(function, options=options))
    best = reward.score(Completion(good, 10), row)
    assert best == 1
    for kind, junk in junk_for(row["prompt"], []).items():
        earned = reward.score(junk, row)
        assert earned is not None
        assert earned < 0.5, kind
        assert not JunkScore(kind, earned, best).is_fooled


def test_form_alone_can_be_fooled() -> None:
    """What knows nothing of the answer pays for junk: the reason for the workbench's test, and for small weights."""
    counted = build_reward(RewardSpec("step_count"))
    assert counted.score(Completion("1.\n2.\n3."), ROW) == 1
    lengthy = build_reward(RewardSpec("target_length", options={"tokens": 280}))
    assert lengthy.score(junk_for("word", [])["repeated"], ROW) == 1
    latin = build_reward(RewardSpec("language", options={"language": "latin"}))
    assert latin.score(junk_for("word", [])["repeated"], ROW) == 1
    lacking = build_reward(RewardSpec("rubric", options={"criteria": ["lacks: sorry"]}))
    assert lacking.score(junk_for("word", [])["echo"], ROW) == 1
    named = build_reward(RewardSpec("keywords", options={"wanted": ["sixteen"]}))
    assert named.score(junk_for("7 + 9", ["It is sixteen"])["long"], ROW) == 1  # words of good answers, in no order


def test_punishments_see_what_goes_on_and_on() -> None:
    junk = junk_for("Tell me of cats", [])
    repetition, overlong = build_reward(RewardSpec("repetition")), build_reward(RewardSpec("soft_overlong"))
    assert repetition.score(junk["repeated"], {}) == pytest.approx(1 / 198 - 1)
    assert overlong.score(junk["long"], {}) == -1
    assert overlong.score(junk["empty"], {}) == 0
    assert not JunkScore("empty", 0, 0).is_fooled
    assert JunkScore("echo", 0.5, 1).is_fooled
    assert not JunkScore("echo", -1, -1).is_fooled


def test_kinds_of_junk() -> None:
    junk = junk_for("one two", ["three"])
    assert junk["empty"].text == ""
    assert junk["echo"].text == "one two"
    assert set(junk["repeated"].text.split()) == {"two"}
    assert len(junk["long"].text.split()) == LONG_WORDS
    assert junk["long"].truncated
    assert junk_for("", [])["repeated"].text.startswith("word")


def test_every_preset_is_a_rubric_that_works() -> None:
    for kind in ("domain", "expertise"):
        for name in presets(kind):
            rubric = persona(**{kind: name}).rubric
            assert 0 <= (build_reward(rubric).score(Completion("Step 1: because of the law, for example."), {}) or 0) <= 1
