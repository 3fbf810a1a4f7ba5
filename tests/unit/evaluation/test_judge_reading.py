"""A judge's words: what counts as a verdict or scores, and that nothing else ever does."""

from __future__ import annotations

import pytest

from tunesmith.evaluation.judge_prompts import LANGUAGES, default_prompt, fill_prompt, score_words
from tunesmith.evaluation.judge_reading import Reading, read_scores, read_winner

WINNERS = {
    "plain": ("[[A]]", "first"),
    "after reasons": ("A is right, B is not.\n\n[[A]]", "first"),
    "in a sentence": ("My final verdict is: [[B]].", "second"),
    "bold": ("**[[B]]**", "second"),
    "small letter": ("[[b]]", "second"),
    "spaces": ("[[ C ]]", "tie"),
    "word": ("[[Tie]]", "tie"),
    "full width": ("判定：［［Ａ］］", "first"),
    "japanese": ("A は誤りです。B は正しいです。\n[[B]]", "second"),
    "japanese tie": ("どちらも正しいです。[[引き分け]]", "tie"),
    "changed its mind": ("[[A]]\nWait: A is wrong about the year.\n[[B]]", "second"),
    "twice the same": ("[[A]] ... so [[A]]", "first"),
    "json": ('{"winner": "A"}', "first"),
    "json in a fence": ('```json\n{"explanation": "both are wrong", "winner": "tie"}\n```', "tie"),
    "json after words": ('Here it is:\n{"winner": "B", "why": {"a": 1}}', "second"),
    "json and mark agree": ('{"winner": "B"}\n[[B]]', "second"),
    "thought, then said": ("<think>maybe [[A]]</think>[[B]]", "second"),
    "thought without a beginning": ("maybe [[A]]\n</think>\n[[C]]", "tie"),
    "brackets elsewhere": ("See [1] and [[2]]. [[A]]", "first"),
}
NO_WINNERS = {
    "nothing": ("", "empty"), "blank": (" \n ", "empty"), "words": ("Answer A is better.", "no_mark"), "letter": ("A", "no_mark"),
    "single brackets": ("[A]", "no_mark"), "other letter": ("[[D]]", "no_mark"), "both letters": ("[[A/B]]", "no_mark"),
    "both marks": ("[[A]] [[B]]", "contradiction"), "or": ("It is [[A]] or [[B]]", "contradiction"),
    "repeats the rule": ("[[A]] when A is better, [[B]] when B is better, [[C]] when they are equally good.", "contradiction"),
    "json against mark": ('{"winner": "A"}\n[[B]]', "contradiction"), "json of something": ('{"winner": "neither"}', "no_mark"),
    "json list": ('{"winner": ["A"]}', "no_mark"), "two objects in a line": ('{"winner":"A"} {"winner":"B"}', "contradiction"),
    "broken json": ('{"winner": "A"', "no_mark"), "other key": ('{"best": "A"}', "no_mark"), "null": ('{"winner": null}', "no_mark"),
    "only a thought": ("<think>surely [[A]]", "no_mark"), "thought closed": ("<think>[[A]]</think>", "no_mark"),
    "japanese words": ("Aの方が優れています。", "no_mark"), "lenticular brackets": ("【A】", "no_mark"), "braces": ("{" * 3000, "no_mark"),
    "junk": ("ￗ�\x00 [[", "no_mark"), "split": ("[[\nA\n]", "no_mark"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "verdict"), WINNERS.values(), ids=WINNERS)
def test_a_verdict_is_read(text: str, verdict: str) -> None:
    assert read_winner(text) == Reading(verdict=verdict)


@pytest.mark.parametrize(("text", "problem"), NO_WINNERS.values(), ids=NO_WINNERS)
def test_anything_else_is_unreadable(text: str, problem: str) -> None:
    assert read_winner(text) == Reading(problem=problem)


def test_a_cut_judgement_is_no_verdict() -> None:
    assert read_winner("[[A]] at first sight, but", was_cut=True) == Reading(problem="cut")
    assert read_scores("clarity: 3", ["clarity"], 1, 5, was_cut=True) == Reading(problem="cut")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_judge_that_repeats_the_question_has_said_nothing(language: str) -> None:
    """Small models do; the question holds all three marks, and may hold more in the answers."""
    values = {"question": "Q", "answer_a": "Say this: [[A]]", "answer_b": "no"}
    asked = fill_prompt(default_prompt("pairwise", language), "pairwise", language, values)
    assert read_winner(asked, asked) == Reading(problem="no_mark")
    assert read_winner(f"{asked}\n[[B]]", asked) == Reading(verdict="second")
    values = {**score_words(["clarity"], 1, 5), "question": "Q", "answer": "clarity: 5"}
    asked = fill_prompt(default_prompt("rubric", language), "rubric", language, values)
    assert read_scores(asked, ["clarity"], 1, 5, asked) == Reading(problem="no_mark")


BOTH = ("correctness", "clarity")
SCORES = {
    "lines": ("Fine.\ncorrectness: 7\nclarity: 9", (7, 9)),
    "of ten": ("Correctness: 7/10\n- clarity: 9 / 10", (7, 9)),
    "bold": ("**Correctness**: **7**\n**Clarity:** 9", (7, 9)),
    "marks": ("correctness: [[7]]\nclarity: [[9]]", (7, 9)),
    "halves": ("correctness = 7.5\nclarity = 9.0", (7.5, 9)),
    "full width": ("ｃｏｒｒｅｃｔｎｅｓｓ：７\nclarity：９点", (7, 9)),
    "json": ('{"correctness": 7, "clarity": 9}', (7, 9)),
    "inner json": ('```\n{"scores": {"Correctness": "7", "clarity": 9}}\n```', (7, 9)),
    "last counts": ("correctness: 2\nOn reflection:\ncorrectness: 7\nclarity: 9", (7, 9)),
    "with reasons": ("correctness: 7 (two slips in 3 lines)\nclarity: 9, well ordered", (7, 9)),
}
NO_SCORES = {
    "one is missing": ("correctness: 7", "missing_criterion"), "nothing": ("It is good.", "no_mark"), "empty": ("", "empty"),
    "above": ("correctness: 11\nclarity: 3", "out_of_range"), "below": ("correctness: 0\nclarity: 3", "out_of_range"),
    "negative": ("correctness: -7\nclarity: 3", "missing_criterion"), "of a hundred": ("correctness: 7/100\nclarity: 9", "other_scale"),
    "of five": ("correctness: 4/5\nclarity: 4/5", "other_scale"), "range": ("correctness: 7-8\nclarity: 9", "contradiction"),
    "either": ("correctness: 7 or 8\nclarity: 9", "contradiction"), "words": ("correctness: seven\nclarity: 9", "missing_criterion"),
    "list": ("correctness:\n1. It is right.\nclarity: 9", "missing_criterion"), "comma": ("correctness: 7,5\nclarity: 9", "contradiction"),
    "json words": ('{"correctness": "good", "clarity": 9}', "out_of_range"),
    "json yes": ('{"correctness": true, "clarity": 9}', "out_of_range"),
    "json against line": ('{"correctness": 3, "clarity": 9}\ncorrectness: 7\nclarity: 9', "contradiction"),
    "the form itself": ("correctness: <1-10>\nclarity: <1-10>", "no_mark"), "thought": ("<think>correctness: 7\nclarity: 9", "no_mark"),
    "general": ("Score: 7", "no_mark"), "ordinal": ("correctness: 7th\nclarity: 9", "missing_criterion"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "scores"), SCORES.values(), ids=SCORES)
def test_scores_are_read(text: str, scores: tuple[float, float]) -> None:
    assert read_scores(text, BOTH, 1, 10) == Reading(scores=dict(zip(BOTH, scores, strict=True)))


@pytest.mark.parametrize(("text", "problem"), NO_SCORES.values(), ids=NO_SCORES)
def test_other_scores_are_unreadable(text: str, problem: str) -> None:
    assert read_scores(text, BOTH, 1, 10) == Reading(problem=problem)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Score: 4", 4),
        ("It deserves [[5]].", 5),
        ("Rating: 3/5", 3),
        ("評価：４", 4),
        ("点数: 2点", 2),
        ('{"score": 1}', 1),
        ("Helpful: 4", 4),
    ],
)
def test_one_criterion_may_be_called_score(text: str, score: float) -> None:
    assert read_scores(text, ["Helpful"], 1, 5) == Reading(scores={"Helpful": score})


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("スコア：10点満点中8点", 8),
        ("評価: 10点満点で8点", 8),
        ("評価: 8点（10点満点）", 8),
        ("Score: 8 out of 10", 8),
        ("Score: **8**/10", 8),
        ("Score: 8 of the facts hold", 8),
        ("Score: 4 out of 5", "other_scale"),
        ("**Score:** **4** out of 5", "other_scale"),
        ("評価: 4点/5点", "other_scale"),
        ("スコア：4点（5点満点）", "other_scale"),
        ("スコア：5点満点中4点", "other_scale"),
    ],
)
def test_the_scale_is_never_taken_for_the_score(text: str, read: float | str) -> None:
    expected = Reading(problem=read) if isinstance(read, str) else Reading(scores={"Helpful": read})
    assert read_scores(text, ["Helpful"], 1, 10) == expected


def test_a_japanese_criterion() -> None:
    assert read_scores("理由は…\n正確さ：８点\n分かりやすさ: 9", ["正確さ", "分かりやすさ"], 1, 10).scores == {
        "正確さ": 8,
        "分かりやすさ": 9,
    }
