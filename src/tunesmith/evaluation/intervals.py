"""How sure a mean or a difference of means is: bootstrap intervals over rows, wins and losses, the sign test. Knows no metrics.

Percentile bootstrap: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13; of paired rows: Koehn, "Statistical
Significance Tests for Machine Translation Evaluation", 2004. Rows are taken as independent: several answers to one prompt are to be
averaged before. With few rows a percentile interval is too narrow, which is why the gate also counts the rows that differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tunesmith.settings.fields import setting

Floats = npt.NDArray[np.float64]
_BLOCK = 4_000_000  # drawn numbers at a time


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
    """Two variants on the same rows, the left one's mean minus the right one's; wins, ties and losses are the left one's.

    `rows` are those where both have a value, `left_out` the others; `sign_p` is the sign test's p-value, of both sides. `note` as in
    `MeanInterval`, of the differences.
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


def mean_interval(values: Floats, rules: IntervalRules | None = None) -> MeanInterval:
    """Return the mean of `values` [N] and its interval; NaN are left out."""
    rules = rules or IntervalRules()
    known = values[np.isfinite(values)]
    rows, left_out = len(known), len(values) - len(known)
    if not rows:
        return MeanInterval(0, left_out, None, None, None, "no_rows")
    mean = float(known.mean())
    if rows == 1:
        return MeanInterval(1, left_out, mean, None, None, "one_row")
    if np.ptp(known) == 0:
        return MeanInterval(rows, left_out, mean, mean, mean, "all_equal")
    low, high = percentile_interval(resampled_means(known, rules), rules.confidence)
    return MeanInterval(rows, left_out, mean, low, high, "")


def compare_paired(left: Floats, right: Floats, rules: IntervalRules | None = None) -> PairedComparison:
    """Return the comparison of two variants' values [N] of the same rows; a row that one of them has no value for is left out."""
    both = np.isfinite(left) & np.isfinite(right)
    left, right = left[both], right[both]
    differences = left - right
    interval = mean_interval(differences, rules)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return PairedComparison(
        interval.rows, len(both) - interval.rows, _mean(left), _mean(right), interval.mean, interval.low, interval.high,
        wins, interval.rows - wins - losses, losses, sign_test(wins, losses), interval.note,
    )  # fmt: skip


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def resampled_means(values: Floats, rules: IntervalRules) -> Floats:
    """Return the means [resamples] of N values drawn with replacement from `values` [N]."""
    chance = np.random.default_rng(rules.seed)
    count = len(values)
    at_once = max(1, _BLOCK // count)
    means = np.empty(rules.resamples)
    for begin in range(0, rules.resamples, at_once):
        block = means[begin : begin + at_once]
        block[:] = values[chance.integers(0, count, (len(block), count), dtype=np.int32)].mean(axis=1)
    return means


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
