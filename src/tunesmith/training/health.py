"""Watches a run's figures and says what looks wrong. Each check is a small function of the figures so far; knows no mlx."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass, field

from tunesmith.errors import UserError
from tunesmith.system.memory import read_memory
from tunesmith.system.thermal import speed_limit_percent

DIVERGING_REPORTS, DIVERGING_FACTOR = 3, 1.5
OVERFITTING_VALIDATIONS = 2
SLOWER_FACTOR, SLOWER_AFTER_REPORTS = 3.0, 5
LOW_MEMORY_SHARE, SWAPPED_BYTES = 0.05, 1_000_000_000
EXPLODED_FACTOR = 1.5
STILL_REPORTS = 3


@dataclass
class Health:
    """What was seen so far. Every alert is given once per run."""

    losses: list[float] = field(default_factory=list)
    val_losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    still: int = 0
    given: set[str] = field(default_factory=set)
    swap_at_start_bytes: int = field(default_factory=lambda: read_memory().swap_bytes)

    def after_report(self, step: int, loss: float, grad_norm: float, seconds_per_step: float) -> list[UserError]:
        """Return the new alerts of a report."""
        self.losses.append(loss)
        self.seconds.append(seconds_per_step)
        self.still = self.still + 1 if grad_norm == 0 else 0
        found = [self._diverging(step), self._slower(step), self._not_moving(step), *self._machine()]
        return self._new(found)

    def after_validation(self, step: int, loss: float) -> list[UserError]:
        """Return the new alerts of a validation."""
        self.val_losses.append(loss)
        return self._new([self._overfitting(step)])

    def _new(self, found: list[UserError | None]) -> list[UserError]:
        new = [alert for alert in found if alert and alert.code not in self.given]
        self.given.update(alert.code for alert in new)
        return new

    def _diverging(self, step: int) -> UserError | None:
        recent = self.losses[-DIVERGING_REPORTS:]
        lowest = min(self.losses)
        if len(self.losses) > DIVERGING_REPORTS and min(recent) > DIVERGING_FACTOR * lowest + 0.1:
            return UserError("alert_diverging", step=step, loss=recent[-1], lowest=lowest)
        return None

    def _overfitting(self, step: int) -> UserError | None:
        worse = self.val_losses[-OVERFITTING_VALIDATIONS - 1 :]
        rising = len(worse) > OVERFITTING_VALIDATIONS and all(a < b for a, b in itertools.pairwise(worse))
        if rising and len(self.losses) > 1 and self.losses[-1] < self.losses[0]:
            return UserError("alert_overfitting", step=step, loss=worse[-1], lowest=min(self.val_losses))
        return None

    def _slower(self, step: int) -> UserError | None:
        if len(self.seconds) <= SLOWER_AFTER_REPORTS:
            return None
        usual = statistics.median(self.seconds)
        if min(self.seconds[-2:]) > SLOWER_FACTOR * usual:
            return UserError("alert_slower", step=step, factor=round(self.seconds[-1] / usual, 1))
        return None

    def _not_moving(self, step: int) -> UserError | None:
        return UserError("alert_not_moving", step=step) if self.still >= STILL_REPORTS else None

    def _machine(self) -> list[UserError | None]:
        memory = read_memory()
        available, swapped = memory.available_bytes, memory.swap_bytes - self.swap_at_start_bytes
        limit = speed_limit_percent()
        return [
            UserError("alert_low_memory", available_bytes=available) if available < LOW_MEMORY_SHARE * memory.total_bytes else None,
            UserError("alert_swapping", swapped_bytes=swapped) if swapped > SWAPPED_BYTES else None,
            UserError("alert_thermal", percent=limit) if limit < 100 else None,
        ]


def has_exploded(loss: float, first_loss: float, guess_loss: float) -> bool:
    """Whether a loss is far above both the run's first one and a blind guess (ln of the vocabulary)."""
    return loss > EXPLODED_FACTOR * max(first_loss, guess_loss)
