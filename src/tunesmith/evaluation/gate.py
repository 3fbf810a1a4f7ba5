"""Whether a candidate is better than the best so far: a rule, and a verdict with the figures behind it. Knows values of rows, no models.

"Better" needs two things: the interval of the paired difference lies above the margin, and enough rows differ that winning them all
could not be chance (the sign test); the second because a bootstrap of three lucky rows is sure of itself. A rule that is asked often lets
chance through: at 95 % a candidate that is no better passes once in forty times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tunesmith.evaluation.intervals import MEAN, Estimator, IntervalRules, PairedComparison, compare_paired
from tunesmith.evaluation.metrics import METRICS
from tunesmith.evaluation.perplexity import LIKELIHOOD
from tunesmith.settings.fields import setting

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GateRule:
    """What a candidate must show."""

    metric: str = setting("exact_match", choices=(*METRICS, *LIKELIHOOD), label="Metric", help="The figure that decides.")
    margin: float = setting(
        0.0, minimum=0.0, maximum=1_000_000.0, label="Margin",
        help="By how much the figure must be better at least, in the metric's own measure (0.02: two hundredths). "
        "0: by anything that is no chance.",
    )  # fmt: skip
    confidence: float = setting(
        0.95, minimum=0.5, maximum=0.999, label="Confidence", help="How sure it must be. More asks for more rows, or a larger difference."
    )


@dataclass(frozen=True)
class GateVerdict:
    """`better`, `worse` or `not_shown`, with what was compared (the candidate is left).

    `reason` of what is not shown: `no_rows`, `too_few_differ` (fewer than `differing_needed` rows were won or lost), or `within_margin`
    (the interval reaches into what the margin calls equal).
    """

    verdict: str
    reason: str
    differing_needed: int
    rule: GateRule
    comparison: PairedComparison


def ask_gate(
    candidate: Floats, best: Floats, rule: GateRule, rules: IntervalRules | None = None, estimator: Estimator = MEAN
) -> GateVerdict:  # fmt: skip
    """Return whether a candidate's values [N] are better than those of the best so far [N] on the same rows; NaN are left out."""
    comparison = compare_paired(candidate, best, replace(rules or IntervalRules(), confidence=rule.confidence), estimator)
    return decide(comparison, rule)


def decide(comparison: PairedComparison, rule: GateRule) -> GateVerdict:
    """Return the verdict on a comparison whose interval has the rule's confidence."""
    needed = fewest_differing(rule.confidence)
    verdict, reason = "not_shown", "within_margin"
    least, most = comparison.low, comparison.high  # of what the candidate gains
    if comparison.smaller_is_better and least is not None and most is not None:
        least, most = -most, -least
    if not comparison.rows:
        reason = "no_rows"
    elif comparison.wins + comparison.losses < needed:
        reason = "too_few_differ"
    elif least is not None and least > rule.margin:
        verdict, reason = "better", ""
    elif most is not None and most < -rule.margin:
        verdict, reason = "worse", ""
    return GateVerdict(verdict, reason, needed, rule, comparison)


def fewest_differing(confidence: float) -> int:
    """Return the fewest rows that show anything when all are won: 2 / 2^n ≤ 1 − confidence. At 95 % 6, since 2 / 64 = 0.031."""
    return math.ceil(1 - math.log2(1 - confidence))
