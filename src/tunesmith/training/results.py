"""What a method hands the loop: of a step, of a measurement. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StepResult:
    """What a step did: the loss summed over `loss_count` items, tokens seen, the gradient's norm before clipping, and more figures."""

    loss_sum: float
    loss_count: int
    tokens: int
    grad_norm: float
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """What rows kept aside say: `score`, of which lower is better, and the figures to record."""

    score: float
    figures: Mapping[str, float]
