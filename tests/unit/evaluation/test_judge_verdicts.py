"""A simulated judge that likes the first place: what one order says, and what both say together."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.evaluation.intervals import IntervalRules
from tunesmith.evaluation.verdicts import JudgeResult, Verdict, judge_result

FIRST, SECOND, TRUTH = 0.755, 0.440, 0.6
RULES = IntervalRules(resamples=300)


def biased(seed: int, prompts: int, unreadable: float = 0.0) -> list[Verdict]:
    """Return the verdicts of a judge that prefers the left variant in 0.755 of the prompts when it stands first, in 0.440 when second."""
    chance = np.random.default_rng(seed)
    found = []
    for prompt in range(prompts):
        for swapped, rate in ((False, FIRST), (True, SECOND)):
            left = chance.random() < rate
            answer = "first" if left != swapped else "second"
            found.append(Verdict(str(prompt), swapped, "no idea" if chance.random() < unreadable else answer))
    return found


def holds(result: JudgeResult, value: float) -> bool:
    return result.low is not None and result.high is not None and result.low <= value <= result.high


def test_by_hand() -> None:
    """a: left both times. b: first both times. c: a tie and left. d: unreadable once. e: only one order. f: right both times."""
    answers = {"a": ("first", "second"), "b": ("first", "first"), "c": ("tie", "second"), "d": ("first", "?"), "f": ("second", "first")}
    verdicts = [Verdict(prompt, bool(order), said) for prompt, both in answers.items() for order, said in enumerate(both)]
    found = judge_result([*verdicts, Verdict("e", False, "first")])
    assert (found.prompts, found.left_out, found.verdicts, found.unreadable) == (4, 2, 11, 1)
    assert found.win_rate == (1 + 0.5 + 0.75 + 0) / 4
    assert found.consistency == 2 / 4
    assert (found.rate_first, found.rate_second) == ((1 + 1 + 0.5 + 0) / 4, (1 + 0 + 1 + 0) / 4)
    assert found.first_share == 6 / 9
    assert found.unreadable_share == 1 / 11
    assert (found.decision.verdict, found.decision.reason) == ("not_shown", "too_few_differ")


def test_several_verdicts_of_one_order_are_averaged() -> None:
    found = judge_result([*[Verdict("a", False, said) for said in ("first", "second", "?", "first")], Verdict("a", True, "second")])
    assert found.win_rate == pytest.approx((2 / 3 + 1) / 2)
    assert (found.prompts, found.unreadable, found.note) == (1, 1, "one_row")


def test_no_readable_verdict_is_no_figure() -> None:
    for verdicts in ([], [Verdict("a", False, ""), Verdict("a", True, "")], [Verdict("a", False, "first")]):
        found = judge_result(verdicts)
        assert (found.prompts, found.win_rate, found.low, found.consistency, found.rate_first) == (0, None, None, None, None)
        assert found.decision.reason == "no_rows"
    assert judge_result([]).unreadable_share is None


def test_a_judge_that_likes_the_first_place_is_read_right() -> None:
    """0.755 one way, 0.440 the other: alone the second says the left variant is worse; the mean, 0.598, is the truth's 0.6."""
    results = [judge_result(biased(seed, 400), RULES) for seed in range(100)]
    assert np.mean([r.rate_first for r in results if r.rate_first is not None]) == pytest.approx(FIRST, abs=0.01)
    assert np.mean([r.rate_second for r in results if r.rate_second is not None]) == pytest.approx(SECOND, abs=0.01)
    assert np.mean([r.win_rate for r in results if r.win_rate is not None]) == pytest.approx((FIRST + SECOND) / 2, abs=0.005)
    assert sum(holds(r, TRUTH) for r in results) >= 90
    assert sum(r.decision.verdict == "better" for r in results) >= 97
    assert not any(holds(r, r.rate_first or 0) or holds(r, r.rate_second or 0) for r in results)
    # first in 0.755 of one order and 0.56 of the other; both orders agree on left in 0.755 · 0.44 and on right in 0.245 · 0.56
    assert np.mean([r.first_share for r in results if r.first_share is not None]) == pytest.approx((0.755 + 0.56) / 2, abs=0.01)
    assert np.mean([r.consistency for r in results if r.consistency is not None]) == pytest.approx(0.469, abs=0.01)


def test_a_judge_without_a_preference_shows_none() -> None:
    """Always the first place: every prompt is undecided."""
    found = judge_result([Verdict(str(prompt), swapped, "first") for prompt in range(50) for swapped in (False, True)])
    assert (found.win_rate, found.consistency, found.first_share, found.note) == (0.5, 0, 1, "all_equal")
    assert found.decision.verdict == "not_shown"


def test_junk_is_left_out_and_changes_nothing() -> None:
    clean = biased(3, 300)
    junk = [Verdict(f"junk {number}", bool(number % 2), said) for number, said in enumerate(["", "A and B", "FIRST!", "1"] * 50)]
    one_sided = [Verdict(f"half {number}", False, "first") for number in range(100)]
    found, plain = judge_result([*clean, *junk, *one_sided], RULES), judge_result(clean, RULES)
    assert (found.win_rate, found.low, found.high, found.consistency) == (plain.win_rate, plain.low, plain.high, plain.consistency)
    assert (found.prompts, found.left_out, found.unreadable) == (300, 300, 200)
    some = [judge_result(biased(seed, 400, unreadable=0.3), RULES) for seed in range(60)]
    assert sum(holds(r, TRUTH) for r in some) >= 54
    assert np.mean([r.unreadable_share for r in some if r.unreadable_share is not None]) == pytest.approx(0.3, abs=0.01)
    assert np.mean([r.prompts for r in some]) == pytest.approx(400 * 0.7 * 0.7, rel=0.02)
