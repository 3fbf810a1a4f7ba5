"""Is a policy learning? Findings from its curves, each a code with its facts; the page words them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from tunesmith.store.series import MetricSeries
from tunesmith.training.health import KL_FAR, KL_JUMP_FROM, is_learned

Mood = Literal["good", "note", "bad"]
FEWEST_REPORTS = 6
SURE = 2.0  # standard errors


@dataclass(frozen=True)
class Sign:
    """One thing that the curves say."""

    code: str
    mood: Mood
    facts: dict[str, float] = field(default_factory=dict)


def signs(series: MetricSeries) -> list[Sign]:
    """Return what the curves of a policy's run say, the answer to “is it learning?” first."""
    _, rewards = series.column("reward")
    if len(rewards) < FEWEST_REPORTS:
        return [Sign("too_early", "note", {"reports": FEWEST_REPORTS})]
    found = [_trend(rewards), _held_out(series), _alike(series), _truncated(series), _distance(series), _movement(series)]
    return [sign for sign in found if sign]


def _trend(rewards: npt.NDArray[np.float64]) -> Sign:
    """Compare the first and the last third of the rewards; a difference counts from two standard errors on."""
    third = max(3, len(rewards) // 3)
    early, late = rewards[:third], rewards[-third:]
    error = math.sqrt(early.var(ddof=1) / third + late.var(ddof=1) / third)
    facts = {"early": float(early.mean()), "late": float(late.mean()), "steps": len(rewards)}
    change = facts["late"] - facts["early"]
    if change > SURE * error and change > 0:
        return Sign("rising", "good", facts)
    return Sign("falling", "bad", facts) if change < -SURE * error else Sign("flat", "note", facts)


def _held_out(series: MetricSeries) -> Sign | None:
    _, values = series.column("val_reward")
    if len(values) < 2:
        return None
    facts = {"first": float(values[0]), "last": float(values[-1]), "best": float(values.max())}
    better = facts["last"] > facts["first"]
    return Sign("held_out_better", "good", facts) if better else Sign("held_out_not_better", "note", facts)


def _recent(series: MetricSeries, name: str) -> float | None:
    _, values = series.column(name)
    return float(values[-5:].mean()) if len(values) else None


def _alike(series: MetricSeries) -> Sign | None:
    share = _recent(series, "zero_spread_share")
    if share is None or share < 0.3:
        return Sign("groups_differ", "good", {"percent": 100 * (share or 0)})
    facts = {"percent": 100 * share, "reward": _recent(series, "reward") or 0.0}
    if is_learned(series.column("reward")[1].tolist()):
        return Sign("task_learned", "good", facts)
    return Sign("groups_alike", "bad" if share > 0.8 else "note", facts)


def _truncated(series: MetricSeries) -> Sign | None:
    share = _recent(series, "truncated_share")
    return Sign("answers_cut", "bad" if share > 0.5 else "note", {"percent": 100 * share}) if share and share > 0.1 else None


def _distance(series: MetricSeries) -> Sign | None:
    _, values = series.column("kl")
    kl = float(values[-1]) if len(values) > 1 else None  # the first is that of a new adapter: 0
    if kl is None:
        return None
    if kl > KL_FAR:
        return Sign("far_from_base", "bad", {"kl": kl})
    return Sign("near_base", "good", {"kl": kl}) if kl < KL_JUMP_FROM else Sign("moved_from_base", "note", {"kl": kl})


def _movement(series: MetricSeries) -> Sign | None:
    _, norms = series.column("grad_norm")
    return Sign("not_moving", "bad") if len(norms) >= 3 and not norms[-3:].any() else None
