"""The sign test, the bootstrap and the ratings beside scipy's."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.evaluation.intervals import IntervalRules, compare_paired, mean_interval, sign_test
from tunesmith.evaluation.perplexity import likelihood_estimator
from tunesmith.evaluation.ratings import PRIOR_VOTES, fit_strengths

stats = pytest.importorskip("scipy.stats", reason="scipy comes with mergekit, in the extra parity")
optimize = pytest.importorskip("scipy.optimize")


def test_the_sign_test_is_scipys() -> None:
    for wins, losses in [(1, 0), (7, 2), (12, 12), (0, 40), (130, 170), (5000, 5200), (60_000, 59_000)]:
        assert sign_test(wins, losses) == pytest.approx(stats.binomtest(wins, wins + losses, 0.5).pvalue, rel=1e-8)


def test_the_bootstrap_is_scipys() -> None:
    """Two bootstraps of 10 000 draws differ at their bounds by chance alone, a few hundredths of the spread."""
    chance = np.random.default_rng(2)
    for values in (chance.exponential(1, 60), (chance.random(200) < 0.9).astype(float), chance.normal(0.1, 1, 30)):
        ours = mean_interval(values, IntervalRules(confidence=0.9))
        theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", confidence_level=0.9, rng=3)
        spread = theirs.standard_error
        assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.1 * spread)
        assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.1 * spread)


def test_the_paired_bootstrap_of_losses_and_perplexities_is_scipys() -> None:
    """Both draw rows with their tokens; the ratio of two sums is worked out anew for each draw."""
    chance = np.random.default_rng(4)
    tokens = chance.integers(3, 80, 120).astype(float)
    right = 1 + tokens / 60 + chance.normal(0, 0.4, 120)
    left = right - 0.1 + chance.normal(0, 0.2, 120)
    for metric in ("loss", "perplexity"):

        def difference(ours: np.ndarray, theirs: np.ndarray, weights: np.ndarray, axis: int, metric: str = metric) -> np.ndarray:
            means = [(each * weights).sum(axis) / weights.sum(axis) for each in (ours, theirs)]
            return means[0] - means[1] if metric == "loss" else np.exp(means[0]) - np.exp(means[1])

        rules = {"n_resamples": 10_000, "method": "percentile", "paired": True, "vectorized": True, "rng": 3}
        theirs = stats.bootstrap((left, right, tokens), difference, **rules)
        ours = compare_paired(left, right, IntervalRules(), likelihood_estimator(metric, tokens))
        assert ours.difference == pytest.approx(float(difference(left, right, tokens, 0)))
        assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.1 * theirs.standard_error)
        assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.1 * theirs.standard_error)


def test_the_ratings_are_the_likeliest() -> None:
    chance = np.random.default_rng(7)
    for variants in (2, 3, 6):
        points = chance.integers(0, 12, (variants, variants)) / 2.0
        np.fill_diagonal(points, 0)

        def unlikely(s: np.ndarray, points: np.ndarray = points) -> float:
            pairs = np.logaddexp(0, s[None, :] - s[:, None])
            return float((points * pairs).sum() + PRIOR_VOTES / 2 * (np.logaddexp(0, s) + np.logaddexp(0, -s)).sum())

        best = optimize.minimize(unlikely, np.zeros(variants), method="BFGS", options={"gtol": 1e-9}).x
        assert fit_strengths(points[None])[0] == pytest.approx(best - best.mean(), abs=1e-5)
