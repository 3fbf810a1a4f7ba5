"""The losses of preference pairs over whole answers' log-probabilities. Knows arrays, no models and no rows.

DPO: arXiv 2305.18290 (label smoothing: cDPO; robust: 2403.00409). IPO: 2310.12036, by mean log-probabilities as its authors told trl.
Hinge (SLiC): 2305.10425. ORPO: 2403.07691. `tests/parity/test_trl_preference.py` compares them with trl's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mlx.core as mx


@dataclass(frozen=True)
class PairSums:
    """Log-probabilities of the pairs' answers, summed over their tokens, each [P]; `reference` ones are 0 for a method without."""

    chosen: mx.array
    rejected: mx.array
    reference_chosen: mx.array
    reference_rejected: mx.array
    chosen_tokens: mx.array
    rejected_tokens: mx.array

    @property
    def chosen_rewards(self) -> mx.array:
        """How much likelier the chosen answers became, in nats."""
        return self.chosen - self.reference_chosen

    @property
    def rejected_rewards(self) -> mx.array:
        """How much likelier the rejected answers became, in nats."""
        return self.rejected - self.reference_rejected


Loss = Callable[[PairSums, float, float], mx.array]


def _log_sigmoid(values: mx.array) -> mx.array:
    return -mx.logaddexp(mx.zeros_like(values), -values)


def _margin(pairs: PairSums, beta: float) -> mx.array:
    return beta * (pairs.chosen_rewards - pairs.rejected_rewards)


def sigmoid_loss(pairs: PairSums, beta: float, label_smoothing: float) -> mx.array:
    """Return −(1−s)·log σ(m) − s·log σ(−m) [P] for m = β·(chosen reward − rejected reward)."""
    margin = _margin(pairs, beta)
    return -(1 - label_smoothing) * _log_sigmoid(margin) - label_smoothing * _log_sigmoid(-margin)


def robust_loss(pairs: PairSums, beta: float, label_smoothing: float) -> mx.array:
    """Return (−(1−s)·log σ(m) + s·log σ(−m)) / (1 − 2s) [P]: unbiased when a share s of the labels is flipped."""
    margin = _margin(pairs, beta)
    wrong = label_smoothing * _log_sigmoid(-margin)
    return (-(1 - label_smoothing) * _log_sigmoid(margin) + wrong) / (1 - 2 * label_smoothing)


def hinge_loss(pairs: PairSums, beta: float, label_smoothing: float) -> mx.array:
    """Return max(0, 1 − m) [P]."""
    del label_smoothing
    return mx.maximum(1 - _margin(pairs, beta), 0)


def ipo_loss(pairs: PairSums, beta: float, label_smoothing: float) -> mx.array:
    """Return (difference of the mean rewards per token − 1 / 2β)² [P]."""
    del label_smoothing
    chosen = pairs.chosen_rewards / mx.maximum(pairs.chosen_tokens, 1)
    rejected = pairs.rejected_rewards / mx.maximum(pairs.rejected_tokens, 1)
    return mx.square(chosen - rejected - 1 / (2 * beta))


def orpo_loss(pairs: PairSums, beta: float, label_smoothing: float) -> mx.array:
    """Return −mean log p(chosen) − β·log σ(log odds ratio) [P]; of the answers alone, as the paper has it (trl adds the prompt)."""
    del label_smoothing
    chosen = pairs.chosen / mx.maximum(pairs.chosen_tokens, 1)
    rejected = pairs.rejected / mx.maximum(pairs.rejected_tokens, 1)
    odds = (chosen - rejected) - (_log_one_minus_exp(chosen) - _log_one_minus_exp(rejected))
    return -chosen - beta * _log_sigmoid(odds)


def _log_one_minus_exp(values: mx.array) -> mx.array:
    """Return log(1 − e^x) for x < 0 without losing digits (Mächler); x is kept a hair below 0."""
    values = mx.minimum(values, -1e-7)
    near = values > -0.6931472
    near_safe = mx.where(near, values, -0.1)
    far_safe = mx.where(near, -1.0, values)
    result: mx.array = mx.where(near, mx.log(-mx.expm1(near_safe)), mx.log1p(-mx.exp(far_safe)))
    return result


DPO_LOSSES: Mapping[str, Loss] = {"sigmoid": sigmoid_loss, "robust": robust_loss, "ipo": ipo_loss, "hinge": hinge_loss}
