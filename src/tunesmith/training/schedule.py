"""The learning rate as a pure function of the step, and the optimiser that uses it."""

from __future__ import annotations

import math
from typing import Any

import mlx.optimizers as optim

from tunesmith.training.config import TrainConfig


def learning_rate_at(config: TrainConfig, step: int) -> float:
    """Return the rate of a step, counted from 1: a rising line over the warm-up, then constant, or falling to 0 by line or cosine."""
    if step <= config.warmup:
        return config.learning_rate * step / (config.warmup + 1)
    if config.lr_schedule == "constant":
        return config.learning_rate
    done = (step - 1 - config.warmup) / max(1, config.iters - config.warmup)
    falling = 1 - done if config.lr_schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.learning_rate * falling


def make_optimizer(config: TrainConfig) -> Any:
    """Return the optimiser. Adam corrects its bias: without it (mlx's default) the first steps are about three times too large."""
    rate = config.learning_rate
    if config.optimizer == "adamw":
        return optim.AdamW(rate, weight_decay=config.weight_decay, bias_correction=True)
    if config.optimizer == "sgd":
        return optim.SGD(rate)
    return optim.Adam(rate, bias_correction=True)
