"""How far a run is: everything that a later process needs beside the weights to go on exactly. Knows no mlx and no files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunesmith.training.results import StepResult


@dataclass
class Window:
    """What was done since the last report."""

    loss_sum: float = 0.0
    supervised_tokens: int = 0
    tokens: int = 0
    steps: int = 0
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, done: StepResult, seconds: float) -> None:
        """Take in a step."""
        self.loss_sum += done.loss_sum
        self.supervised_tokens += done.loss_count
        self.tokens += done.tokens
        self.steps += 1
        self.seconds += seconds
        for name, value in done.figures.items():
            self.figures[name] = self.figures.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    @property
    def loss(self) -> float:
        """The mean loss of what it is counted over: supervised tokens, pairs, or moves of a policy."""
        return self.loss_sum / max(1, self.supervised_tokens)

    @property
    def means(self) -> dict[str, float]:
        """The method's own figures, each the mean over the steps that had it."""
        return {name: total / self.counts[name] for name, total in self.figures.items()}


@dataclass
class Progress:
    """A run's place: steps done, tokens seen, rows used (of methods that choose), the open report window, and the validations so far.

    `validated` is the last step whose validation was finished, -1 before the first.
    """

    step: int = 0
    tokens_seen: int = 0
    elapsed_seconds: float = 0.0
    first_loss: float | None = None
    rows_used: int = 0
    best_score: float | None = None
    best_step: int = 0
    stale_validations: int = 0
    validated: int = -1
    window: Window = field(default_factory=Window)

    def note_validation(self, score: float) -> bool:
        """Take in a validation's score, of which lower is better; return whether it is the best so far."""
        if self.best_score is not None and not score < self.best_score:
            self.stale_validations += 1
            return False
        self.best_score, self.best_step, self.stale_validations = score, self.step, 0
        return True

    def as_record(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {"v": 1, **dataclasses.asdict(self)}


def progress_of(record: Mapping[str, Any]) -> Progress:
    """Return the progress in a checkpoint's record."""
    values = {name: value for name, value in record.items() if name != "v"}
    if "best_val_loss" in values:  # its name before there were other scores
        values["best_score"] = values.pop("best_val_loss")
    values.setdefault("validated", values["step"] or -1)  # of a checkpoint from before it was noted
    return Progress(**(values | {"window": Window(**values["window"])}))
