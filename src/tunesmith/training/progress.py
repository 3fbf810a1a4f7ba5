"""How far a run is: everything that a later process needs beside the weights to go on exactly. Knows no mlx and no files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Window:
    """What was done since the last report."""

    loss_sum: float = 0.0
    supervised_tokens: int = 0
    tokens: int = 0
    steps: int = 0
    seconds: float = 0.0

    @property
    def loss(self) -> float:
        """The mean loss of a supervised token."""
        return self.loss_sum / max(1, self.supervised_tokens)


@dataclass
class Progress:
    """A run's place: steps done, tokens seen, the open report window, and the validations so far."""

    step: int = 0
    tokens_seen: int = 0
    elapsed_seconds: float = 0.0
    first_loss: float | None = None
    best_val_loss: float | None = None
    best_step: int = 0
    stale_validations: int = 0
    window: Window = field(default_factory=Window)

    def note_validation(self, loss: float) -> bool:
        """Take in a validation's loss; return whether it is the best so far."""
        if self.best_val_loss is not None and not loss < self.best_val_loss:
            self.stale_validations += 1
            return False
        self.best_val_loss, self.best_step, self.stale_validations = loss, self.step, 0
        return True

    def as_record(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {"v": 1, **dataclasses.asdict(self)}


def progress_of(record: Mapping[str, Any]) -> Progress:
    """Return the progress in a checkpoint's record."""
    values = {name: value for name, value in record.items() if name != "v"}
    return Progress(**(values | {"window": Window(**values["window"])}))
