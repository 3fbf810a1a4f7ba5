"""What a method adds to the loop: its rows, a step, a measurement. Knows no files but the data set's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tunesmith.data.batching import Shape
from tunesmith.data.formats import Row
from tunesmith.data.templates import Encoded

if TYPE_CHECKING:
    from tunesmith.training.prepare import Run


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


class Task(Protocol):
    """One method at work on one data set; made by the method's `open` before the model is made trainable."""

    trial: Sequence[Encoded]
    count: int
    valid_source: list[Row]
    facts: Mapping[str, float]
    notes: Sequence[tuple[str, int]]

    def begin(self, run: Run) -> None:
        """Get ready once model, adapter and place are."""

    def take_step(self, run: Run, step: int) -> StepResult:
        """Do a step, counted from 1; the place is not moved here. Raises Abandoned, then the weights are as before, and UserError."""

    def measure(self, run: Run) -> Measurement | None:
        """Measure the rows kept aside, None when there are none; the model is in evaluation mode. Raises Abandoned."""

    def largest_shape(self, run: Run) -> Shape:
        """Return the largest pass of the run."""

    def close(self) -> None:
        """Give back what `begin` took."""
