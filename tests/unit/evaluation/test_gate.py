"""The gate's verdicts, and how often chance gets past it."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.evaluation.gate import GateRule, ask_gate, fewest_differing
from tunesmith.evaluation.intervals import IntervalRules
from tunesmith.evaluation.perplexity import LIKELIHOOD, likelihood_estimator

ROWS = 200


def answers(share: float, rows: int = ROWS) -> np.ndarray:
    return (np.arange(rows) < share * rows).astype(float)


@pytest.mark.parametrize(("confidence", "rows"), [(0.5, 2), (0.75, 3), (0.9, 5), (0.95, 6), (0.97, 7), (0.99, 8)])
def test_the_fewest_rows_that_show_anything(confidence: float, rows: int) -> None:
    """Winning all of n rows has by chance, on either side, 2 / 2^n: 0.031 of 6, 0.0625 of 5."""
    assert fewest_differing(confidence) == rows
    assert 2 / 2**rows <= 1 - confidence < 2 / 2 ** (rows - 1)


@pytest.mark.parametrize(
    ("candidate", "best", "margin", "verdict", "reason"),
    [
        (0.8, 0.6, 0.0, "better", ""), (0.6, 0.8, 0.0, "worse", ""), (0.8, 0.6, 0.1, "better", ""),
        (0.8, 0.6, 0.19, "not_shown", "within_margin"), (0.6, 0.8, 0.19, "not_shown", "within_margin"),
        (0.7, 0.7, 0.0, "not_shown", "too_few_differ"), (0.725, 0.7, 0.0, "not_shown", "too_few_differ"), (0.735, 0.7, 0.0, "better", ""),
    ],
)  # fmt: skip
def test_verdicts(candidate: float, best: float, margin: float, verdict: str, reason: str) -> None:
    found = ask_gate(answers(candidate), answers(best), GateRule(margin=margin))
    assert (found.verdict, found.reason) == (verdict, reason)
    assert found.comparison.difference == pytest.approx(candidate - best)


def test_few_rows_show_nothing_however_lucky() -> None:
    assert ask_gate(np.ones(5), np.zeros(5), GateRule()).reason == "too_few_differ"
    assert ask_gate(np.ones(6), np.zeros(6), GateRule()).verdict == "better"
    assert ask_gate(np.ones(6), np.zeros(6), GateRule(confidence=0.99)).reason == "too_few_differ"
    assert ask_gate(np.ones(1), np.zeros(1), GateRule(confidence=0.5)).verdict == "not_shown"
    nothing = np.full(9, np.nan)
    assert ask_gate(nothing, np.ones(9), GateRule()).reason == "no_rows"


def test_more_confidence_asks_for_more() -> None:
    """60 won and 40 lost of 200: +0.1, spread √(0.5 − 0.01)/√200 = 0.0495, so it is 2.02 spreads away from 0."""
    candidate, best = np.zeros(ROWS), np.zeros(ROWS)
    candidate[:60], best[60:100] = 1, 1
    assert ask_gate(candidate, best, GateRule(confidence=0.9)).verdict == "better"
    assert ask_gate(candidate, best, GateRule(confidence=0.99)).verdict == "not_shown"


def test_chance_gets_past_as_seldom_as_the_rule_says() -> None:
    """Two models equally good: better in 1 of 40, worse in 1 of 40. Of 600, 0.05 + 3 · √(0.05 · 0.95 / 600) = 0.077."""
    rules, wrong = IntervalRules(resamples=300), 0
    for seed in range(600):
        left, right = (np.random.default_rng(seed).random((2, 60)) < 0.5).astype(float)
        wrong += ask_gate(left, right, GateRule(), rules).verdict != "not_shown"
    assert wrong / 600 < 0.077


@pytest.mark.parametrize("metric", LIKELIHOOD)
def test_a_smaller_loss_is_better(metric: str) -> None:
    """Losses of 1.8 against 2.0, noise apart: a gain of 0.2 nats, or of exp(2.0) − exp(1.8) = 1.34 of perplexity."""
    chance = np.random.default_rng(0)
    worse = 2.0 + chance.normal(0, 0.3, 100)
    better = worse - 0.2 + chance.normal(0, 0.05, 100)
    tokens = likelihood_estimator(metric, chance.integers(5, 50, 100))
    margin = 0.15 if metric == "loss" else 1.1
    assert ask_gate(better, worse, GateRule(metric, margin), estimator=tokens).verdict == "better"
    assert ask_gate(worse, better, GateRule(metric, margin), estimator=tokens).verdict == "worse"
    assert ask_gate(better, worse, GateRule(metric, 2 * margin), estimator=tokens).reason == "within_margin"
