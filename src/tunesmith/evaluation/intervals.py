"""How sure a figure or a difference of two is: bootstrap intervals over rows, wins and losses, the sign test. Knows no metrics.

Percentile bootstrap: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13; of paired rows: Koehn, "Statistical
Significance Tests for Machine Translation Evaluation", 2004. Rows are taken as independent: several answers to one prompt are to be
averaged before. Where rows have weights, each is drawn with its own: a weighted mean is a ratio of two sums. With few rows a percentile
interval is too narrow, which is why the gate also counts the rows that differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tunesmith.settings.fields import setting

Floats = npt.NDArray[np.float64]
_BLOCK = 4_000_000  # drawn numbers at a time
_MOST_EXPONENT = 700.0  # exp of more than 709 is no float64


@dataclass(frozen=True)
class IntervalRules:
    """How intervals are made."""

    confidence: float = setting(
        0.95, minimum=0.5, maximum=0.999, label="Confidence", help="How often an interval made like this holds the true value."
    )
    resamples: int = setting(
        10_000, minimum=100, maximum=100_000, label="Resamples", advanced=True, help="How often the rows are drawn again by chance."
    )
    seed: int = setting(0, minimum=0, maximum=2**31 - 1, label="Seed", advanced=True, help="The same seed gives the same interval.")


@dataclass(frozen=True)
class Estimator:
    """How N rows make one figure: their mean, each row counting by its `weights` [N] (all alike without), or exp of that mean.

    `smaller_is_better` says which of two figures wins.
    """

    weights: Floats | None = None
    exponential: bool = False
    smaller_is_better: bool = False

    def of_rows(self, chosen: npt.NDArray[np.bool_]) -> Estimator:
        """Return the estimator of the chosen rows [N] alone."""
        return self if self.weights is None else replace(self, weights=self.weights[chosen])

    def figure(self, values: Floats) -> float:
        """Return the one figure of `values` [N]."""
        mean = float(np.average(values, weights=self.weights))
        return math.exp(min(mean, _MOST_EXPONENT)) if self.exponential else mean


MEAN = Estimator()


@dataclass(frozen=True)
class MeanInterval:
    """A mean over `rows`; `left_out` had no value. Without an interval, or with one that says little, `note` tells why.

    `no_rows`, `one_row`: no interval. `all_equal`: the rows say nothing of how much they vary, the interval is a point.
    """

    rows: int
    left_out: int
    mean: float | None
    low: float | None
    high: float | None
    note: str


@dataclass(frozen=True)
class PairedComparison:
    """Two variants on the same rows, the left one's figure minus the right one's; wins, ties and losses are the left one's.

    `rows` are those where both have a value, `left_out` the others; `sign_p` is the sign test's p-value, of both sides. `note` as in
    `MeanInterval`, of the differences. Where `smaller_is_better`, a difference below 0 is the left one's gain.
    """

    rows: int
    left_out: int
    left_mean: float | None
    right_mean: float | None
    difference: float | None
    low: float | None
    high: float | None
    wins: int
    ties: int
    losses: int
    sign_p: float
    note: str
    smaller_is_better: bool = False


def mean_interval(values: Floats, rules: IntervalRules | None = None, estimator: Estimator = MEAN) -> MeanInterval:
    """Return the mean (or the estimator's figure) of `values` [N] and its interval; NaN are left out."""
    rules = rules or IntervalRules()
    there = np.isfinite(values)
    known, estimator = values[there], estimator.of_rows(there)
    rows, left_out = len(known), len(values) - len(known)
    if not rows:
        return MeanInterval(0, left_out, None, None, None, "no_rows")
    mean = estimator.figure(known)
    if rows == 1:
        return MeanInterval(1, left_out, mean, None, None, "one_row")
    if np.ptp(known) == 0:
        return MeanInterval(rows, left_out, mean, mean, mean, "all_equal")
    low, high = percentile_interval(resampled_figures(known, rules, estimator), rules.confidence)
    return MeanInterval(rows, left_out, mean, low, high, "")


def compare_paired(left: Floats, right: Floats, rules: IntervalRules | None = None, estimator: Estimator = MEAN) -> PairedComparison:
    """Return the comparison of two variants' values [N] of the same rows; a row that one of them has no value for is left out."""
    rules = rules or IntervalRules()
    both = np.isfinite(left) & np.isfinite(right)
    left, right, estimator = left[both], right[both], estimator.of_rows(both)
    differences = left - right
    interval = mean_interval(differences, rules, replace(estimator, exponential=False))
    ours, theirs = (estimator.figure(left), estimator.figure(right)) if interval.rows else (None, None)
    if estimator.exponential and interval.rows:
        interval = _between_exponentials(interval, left, right, rules, estimator)
    better = -differences if estimator.smaller_is_better else differences
    wins, losses = int((better > 0).sum()), int((better < 0).sum())
    return PairedComparison(
        interval.rows, len(both) - interval.rows, ours, theirs, interval.mean, interval.low, interval.high,
        wins, interval.rows - wins - losses, losses, sign_test(wins, losses), interval.note, estimator.smaller_is_better,
    )  # fmt: skip


def _between_exponentials(interval: MeanInterval, left: Floats, right: Floats, rules: IntervalRules, of: Estimator) -> MeanInterval:
    """Return the interval of a difference of two exponentials: one seed draws the same rows for both."""
    mean, low, high = of.figure(left) - of.figure(right), interval.low, interval.high
    if low is not None:
        low, high = percentile_interval(resampled_figures(left, rules, of) - resampled_figures(right, rules, of), rules.confidence)
    return replace(interval, mean=mean, low=low, high=high)


def resampled_figures(values: Floats, rules: IntervalRules, estimator: Estimator = MEAN) -> Floats:
    """Return the figures [resamples] of N rows drawn with replacement from `values` [N], each with its weight."""
    chance = np.random.default_rng(rules.seed)
    count, weights = len(values), estimator.weights
    weighted = values if weights is None else values * weights
    at_once = max(1, _BLOCK // count)
    means = np.empty(rules.resamples)
    for begin in range(0, rules.resamples, at_once):
        block = means[begin : begin + at_once]
        drawn = chance.integers(0, count, (len(block), count), dtype=np.int32)
        block[:] = weighted[drawn].mean(axis=1) if weights is None else weighted[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    return np.exp(np.minimum(means, _MOST_EXPONENT)) if estimator.exponential else means


def percentile_interval(samples: Floats, confidence: float) -> tuple[float, float]:
    """Return the bounds that leave out the same share of `samples` [B] on either side."""
    beyond = (1 - confidence) / 2
    low, high = np.quantile(samples, [beyond, 1 - beyond])
    return float(low), float(high)


def sign_test(wins: int, losses: int) -> float:
    """Return how likely wins and losses are at least this uneven when either is as likely: exact, two-sided; ties are left out.

    Dixon & Mood, "The statistical sign test", 1946. 6 wins and no loss: 2 / 2^6 = 0.031.
    """
    decided = wins + losses
    shares = (
        math.exp(math.lgamma(decided + 1) - math.lgamma(k + 1) - math.lgamma(decided - k + 1) - decided * math.log(2))
        for k in range(min(wins, losses) + 1)
    )
    return min(1.0, 2 * math.fsum(shares))
