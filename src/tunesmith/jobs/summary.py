"""What is kept of a run's curves in its record when it ends, so that lists need not read the metrics again."""

from __future__ import annotations

from typing import Any

import numpy as np

from tunesmith.store.run_folder import RunFolder
from tunesmith.store.series import MetricSeries

SPARKLINE_POINTS = 40


def summarise(folder: RunFolder) -> dict[str, Any]:
    """Return first, final and best loss, steps, tokens, their pace, seconds, and the curve (of the loss, or of the reward) at 40 places."""
    series = MetricSeries(folder.metrics)
    series.refresh()
    rewards = series.column("reward")[1]
    losses = rewards if len(rewards) else series.column("train_loss")[1]  # of a policy the reward is what is learned
    _, speeds = series.column("tokens_per_second")
    places = np.unique(np.linspace(0, max(0, len(losses) - 1), SPARKLINE_POINTS).astype(int))
    return {
        "loss_first": series.first.get("train_loss"),
        "loss_last": series.latest.get("train_loss"),
        "best_val_loss": series.lowest("val_loss"),
        "reward_first": series.first.get("val_reward", series.first.get("reward")),
        "reward_last": series.latest.get("val_reward", series.latest.get("reward")),
        "steps": series.latest.get("step", 0),
        "tokens_seen": series.latest.get("tokens_seen"),
        "tokens_per_second": float(np.median(speeds)) if len(speeds) else None,
        "duration_seconds": series.latest.get("elapsed_seconds"),
        "sparkline": losses[places].tolist() if len(losses) else [],
    }
