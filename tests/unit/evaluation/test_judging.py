"""Answers before a judge: what is asked, what of it is counted, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tunesmith.errors import UserError
from tunesmith.evaluation.judge_prompts import LANGUAGES, MODES, NEEDED, OPTIONAL, check_prompt, default_prompt, fill_prompt
from tunesmith.evaluation.judging import (
    MEAN,
    Case,
    JudgeRules,
    check_rules,
    describe,
    describe_failure,
    failure_kind,
    latest,
    make_questions,
    sum_up,
)

CASES = [Case(3, "2 + 2?", "4", {"l": "It is 4.", "r": "It is 5.", "x": "?"}), Case(7, "Why?", None, {"l": "", "r": "So."})]
TEMPLATE = "{question}|{reference}|{answer_a}|{answer_b}"


def words(error: pytest.ExceptionInfo[UserError]) -> tuple[str, Mapping[str, object]]:
    return error.value.code, error.value.facts


def test_each_prompt_is_asked_in_both_orders() -> None:
    asked = list(make_questions(CASES, JudgeRules(), ["l", "r"], TEMPLATE))
    assert [(question.row, question.swapped) for question in asked] == [(3, False), (3, True), (7, False), (7, True)]
    assert [question.text for question in asked] == [
        "2 + 2?|4|It is 4.|It is 5.", "2 + 2?|4|It is 5.|It is 4.",
        "Why?|(none given)|(no answer)|So.", "Why?|(none given)|So.|(no answer)",
    ]  # fmt: skip


def test_a_rubric_asks_of_each_variant_alone_and_only_where_all_answered() -> None:
    rules = JudgeRules(mode="rubric", language="ja", criteria=("正確さ", "簡潔さ"), scale="1-5")
    template = "{answer} {criteria} {lowest}..{highest}\n{score_lines}"
    asked = list(make_questions(CASES, rules, ["l", "x"], template))
    assert [question.key for question in asked] == [(3, False, "l"), (3, False, "x")]
    assert asked[1].text == "? 正確さ, 簡潔さ 1..5\n正確さ: <1-5>\n簡潔さ: <1-5>"


def test_braces_in_answers_and_unknown_names_stay() -> None:
    said = fill_prompt('{answer_a} {"winner": "A"} {other} {answer_b}', "pairwise", "en", {"answer_a": "{answer_b}", "answer_b": "{x}"})
    assert said == '{answer_b} {"winner": "A"} {other} {x}'


@pytest.mark.parametrize("mode", MODES)
def test_a_template_without_what_is_judged_is_refused_by_name(mode: str) -> None:
    for language in LANGUAGES:
        shipped = default_prompt(mode, language)
        check_prompt(shipped, mode)
        assert all(f"{{{name}}}" in shipped for name in (*NEEDED[mode], "reference"))
        filled = fill_prompt(shipped, mode, language, dict.fromkeys((*NEEDED[mode], *OPTIONAL[mode]), "here"))
        assert filled.count("here") == shipped.count("{")
    with pytest.raises(UserError) as caught:
        check_prompt("{question} {answer_c}", mode)
    missing = "{answer_a}, {answer_b}" if mode == "pairwise" else "{answer}"
    assert words(caught) == ("judge_prompt_incomplete", {"missing": missing})


@pytest.mark.parametrize("criteria", [(), ("a", "A"), ("a", " "), tuple("abcdefghijklm")])
def test_criteria_that_cannot_be_told_apart_are_refused(criteria: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="judge_criteria_wrong"):
        check_rules(JudgeRules(mode="rubric", criteria=criteria))
    check_rules(JudgeRules(criteria=criteria))


def test_failures_are_told_apart() -> None:
    told = {
        "timeout": UserError("endpoint_unreachable", address="", reason="ReadTimeout"),
        "unreachable": UserError("endpoint_unreachable", address="", reason="ConnectionError"),
        "busy": UserError("endpoint_refused", address="", status=429, reason=""),
        "server_error": UserError("endpoint_refused", address="", status=503, reason=""),
        "refused": UserError("endpoint_refused", address="", status=400, reason=""),
        "bad_answer": UserError("endpoint_bad_answer", address="", reason="KeyError"),
    }
    assert {kind: failure_kind(error) for kind, error in told.items()} == {kind: kind for kind in told}


def lines_of(answers: Mapping[tuple[int, bool], str], rules: JudgeRules, **tokens: int | None) -> list[dict[str, Any]]:
    cases = [Case(row, "q", None, {"l": "a", "r": "b"}) for row in sorted({row for row, _ in answers})]
    counts = {"prompt_tokens": None, "completion_tokens": None} | tokens
    asked = make_questions(cases, rules, ["l", "r"], TEMPLATE)
    return [describe(question, rules, answers[question.row, question.swapped], False, **counts) for question in asked]


def test_the_sum_by_hand() -> None:
    """1: left in both orders. 2: always the first place. 3: a tie, then junk: left out. 4: no answer at all to one order."""
    said = {
        (1, False): "[[A]]", (1, True): "[[B]]", (2, False): "[[A]]", (2, True): "[[A]]", (3, False): "[[C]]", (3, True): "both",
        (4, False): "[[A]]", (4, True): "",
    }  # fmt: skip
    rules = JudgeRules(price_in=2.0, price_out=10.0)
    lines = lines_of(said, rules, prompt_tokens=100, completion_tokens=20)[:-1]
    question = list(make_questions([Case(4, "q", None, {"l": "a", "r": "b"})], rules, ["l", "r"], TEMPLATE))[1]
    lines.append(describe_failure(question, UserError("endpoint_refused", address="a", status=500, reason="-")))
    found = sum_up(lines, rules, ["l", "r"])
    assert (found.asked, found.unanswered, found.failures) == (8, 1, {"no_mark": 1, "server_error": 1})
    assert found.examples["no_mark"]["text"] == "both"
    assert found.pairwise is not None
    assert (found.pairwise.prompts, found.pairwise.left_out, found.pairwise.win_rate, found.pairwise.consistency) == (2, 2, 0.75, 0.5)
    assert (found.prompt_tokens, found.completion_tokens, found.untold) == (700, 140, 0)
    assert found.cost == pytest.approx((700 * 2 + 140 * 10) / 1e6)
    again = [*lines, describe(question, rules, "[[B]]", False, 100, 20)]
    assert sum_up(again, rules, ["l", "r"]).unanswered == 0
    assert len(latest(again)) == 8


def test_what_is_not_told_has_no_cost() -> None:
    said = {(1, False): "[[A]]", (1, True): "[[B]]"}
    found = sum_up(lines_of(said, JudgeRules(price_in=1.0)), JudgeRules(price_in=1.0), ["l", "r"])
    assert (found.prompt_tokens, found.completion_tokens, found.untold, found.cost) == (None, None, 2, None)
    assert sum_up(lines_of(said, JudgeRules(), prompt_tokens=5), JudgeRules(), ["l", "r"]).cost is None


def test_nothing_said_is_nothing_found() -> None:
    for mode in MODES:
        found = sum_up([], JudgeRules(mode=mode), ["l", "r"])
        assert (found.asked, found.failures, found.cost) == (0, {}, None)
        assert found.pairwise is None or found.pairwise.win_rate is None
        assert all(each.means["l"].mean is None for each in found.rubric)


def test_rubric_means_and_paired_differences() -> None:
    """Row 2's score of r is junk: it counts for the mean of l, not for the difference."""
    rules = JudgeRules(mode="rubric", criteria=("right", "clear"))
    said = {(1, "l"): "right: 8\nclear: 6", (1, "r"): "right: 4\nclear: 6", (2, "l"): "right: 10\nclear: 10", (2, "r"): "very good",
            (3, "l"): "right: 6\nclear: 2", (3, "r"): "right: 6\nclear: 4"}  # fmt: skip
    cases = [Case(row, "q", None, {"l": "a", "r": "b"}) for row in (1, 2, 3)]
    lines = [describe(q, rules, said[q.row, q.variant], False, 1, 1) for q in make_questions(cases, rules, ["l", "r"], "{answer}")]
    found = sum_up(lines, rules, ["l", "r"])
    by_name = {each.criterion: each for each in found.rubric}
    assert list(by_name) == [MEAN, "right", "clear"]
    assert (by_name["right"].means["l"].mean, by_name["right"].means["r"].mean, by_name["right"].means["r"].rows) == (8, 5, 2)
    difference = by_name["right"].differences["r"]
    assert (difference.rows, difference.left_out, difference.difference, difference.wins, difference.ties) == (2, 1, 2, 1, 1)
    assert by_name[MEAN].means["l"].mean == pytest.approx(np.mean([7, 10, 4]))
    assert by_name[MEAN].differences["r"].difference == pytest.approx(np.mean([7 - 5, 4 - 5]))
    assert found.failures == {"no_mark": 1}
