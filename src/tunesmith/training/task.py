"""A run at work, and what a method adds to its loop: rows, a step, a measurement. Knows no order of things."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tunesmith.data.batching import BatchRules, Shape
from tunesmith.data.formats import Row
from tunesmith.data.templates import Encoded
from tunesmith.models.loading import LoadedModel
from tunesmith.models.reference import Reference
from tunesmith.training.checkpoints import Checkpoints
from tunesmith.training.config import TrainConfig
from tunesmith.training.events import Recorder
from tunesmith.training.forward import Forward
from tunesmith.training.health import Health
from tunesmith.training.processes import Processes
from tunesmith.training.progress import Progress
from tunesmith.training.results import Measurement, StepResult
from tunesmith.training.samples import Probe


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


@dataclass
class Run:
    """Everything that the loop holds while it runs; `steps` is where it ends."""

    config: TrainConfig
    base: LoadedModel
    task: Task
    rules: BatchRules
    steps: int
    forward: Forward
    optimizer: Any
    reference: Reference
    recorder: Recorder
    checkpoints: Checkpoints
    probes: list[Probe]
    progress: Progress
    processes: Processes
    abandoned: Callable[[], bool] = lambda: False  # whether the run is asked to end; long steps look in between
    health: Health = field(default_factory=Health)
