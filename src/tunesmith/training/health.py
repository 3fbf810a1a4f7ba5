"""Watches a run's figures and says what looks wrong. Each check is a small function of the figures so far; knows no mlx."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
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
RECENT_REPORTS, ZERO_SPREAD_SHARE, TRUNCATED_SHARE = 5, 0.8, 0.5
KL_FAR, KL_JUMP_FACTOR, KL_JUMP_FROM = 2.0, 10.0, 0.5  # runs that broke down had 4 to 7 nats per token
ENTROPY_FALL = 0.2


@dataclass
class Health:
    """What was seen so far. Every alert is given once per run; of a policy, the loss says nothing and the rewards do."""

    policy: dict[str, list[float]] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    val_losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    still: int = 0
    given: set[str] = field(default_factory=set)
    swap_at_start_bytes: int = field(default_factory=lambda: read_memory().swap_bytes)

    def after_report(self, step: int, figures: Mapping[str, float]) -> list[UserError]:
        """Return the new alerts of a report's figures."""
        self.seconds.append(figures["seconds_per_step"])
        self.still = self.still + 1 if figures["grad_norm"] == 0 else 0
        if "reward" in figures:
            for name in ("reward", "zero_spread_share", "truncated_share", "kl", "entropy"):
                self.policy.setdefault(name, []).extend([figures[name]] if name in figures else [])
            self.still = 0 if figures["zero_spread_share"] == 1 else self.still  # told by another alert
            found = self._policy(step)
        else:
            self.losses.append(figures["train_loss"])
            found = [self._diverging(step)]
        return self._new([*found, self._slower(step), self._not_moving(step), *self._machine()])

    def after_validation(self, step: int, loss: float) -> list[UserError]:
        """Return the new alerts of a validation."""
        self.val_losses.append(loss)
        return self._new([self._overfitting(step)])

    def _new(self, found: list[UserError | None]) -> list[UserError]:
        new = [alert for alert in found if alert and alert.code not in self.given]
        self.given.update(alert.code for alert in new)
        return new

    def _policy(self, step: int) -> list[UserError | None]:
        """Return what looks wrong in a policy's figures."""
        alike, cut = (_recent_mean(self.policy[name]) for name in ("zero_spread_share", "truncated_share"))
        return [
            UserError("alert_zero_spread", step=step, percent=round(100 * alike))
            if alike > ZERO_SPREAD_SHARE and not is_learned(self.policy["reward"])
            else None,
            UserError("alert_truncated", step=step, percent=round(100 * cut)) if cut > TRUNCATED_SHARE else None,
            self._far_from_base(step),
            self._entropy_gone(step),
        ]

    def _far_from_base(self, step: int) -> UserError | None:
        values = self.policy["kl"]
        if not values:
            return None
        jumped = len(values) > RECENT_REPORTS and values[-1] > max(KL_JUMP_FROM, KL_JUMP_FACTOR * statistics.median(values[:-1]))
        return UserError("alert_kl", step=step, kl=round(values[-1], 2)) if values[-1] > KL_FAR or jumped else None

    def _entropy_gone(self, step: int) -> UserError | None:
        """Tell of an entropy that fell at once while the reward did not rise: the answers became all alike and no better."""
        values, rewards = self.policy["entropy"], self.policy["reward"]
        if len(values) < RECENT_REPORTS + 3:
            return None
        before, now = statistics.mean(values[-RECENT_REPORTS - 3 : -3]), statistics.mean(values[-3:])
        better = statistics.mean(rewards[-3:]) > statistics.mean(rewards[-RECENT_REPORTS - 3 : -3])
        return (
            UserError("alert_entropy", step=step, now=round(now, 3), before=round(before, 3))
            if now < ENTROPY_FALL * before and not better
            else None
        )

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


def _recent_mean(values: list[float]) -> float:
    return statistics.mean(values[-RECENT_REPORTS:]) if len(values) >= RECENT_REPORTS else 0.0


def is_learned(rewards: Sequence[float]) -> bool:
    """Whether rewards have risen and stay near their highest: then groups without difference are a sign of success."""
    third = len(rewards) // 3
    if third < RECENT_REPORTS:
        return False
    early, late, highest = statistics.mean(rewards[:third]), statistics.mean(rewards[-RECENT_REPORTS:]), max(rewards)
    return late - early > 0.5 * (highest - min(rewards)) and late >= highest - 0.1 * (highest - min(rewards))


def has_exploded(loss: float, first_loss: float, guess_loss: float) -> bool:
    """Whether a loss is far above both the run's first one and a blind guess (ln of the vocabulary)."""
    return loss > EXPLODED_FACTOR * max(first_loss, guess_loss)
