"""The learning rate as a pure function of the step, and the optimiser that uses it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import mlx.optimizers as optim

from tunesmith.training.config import TrainConfig

Make = Callable[[float, float], Any]
# Adam corrects its bias: without it (mlx's default) the first steps are about three times too large.
OPTIMIZERS: Mapping[str, Make] = {
    "adam": lambda rate, _: optim.Adam(rate, bias_correction=True),
    "adamw": lambda rate, decay: optim.AdamW(rate, weight_decay=decay, bias_correction=True),
    "adafactor": lambda rate, decay: optim.Adafactor(rate, scale_parameter=False, relative_step=False, weight_decay=decay),
    "lion": lambda rate, decay: optim.Lion(rate, weight_decay=decay),
    "sgd": lambda rate, decay: optim.SGD(rate, weight_decay=decay),
    "muon": lambda rate, decay: optim.Muon(rate, weight_decay=decay),
}


def learning_rate_at(config: TrainConfig, step: int, steps: int) -> float:
    """Return the rate of a step, counted from 1, of a run of `steps`.

    A rising line over the warm-up, then constant, or falling to 0 by line or cosine.
    """
    if step <= config.warmup:
        return config.learning_rate * step / (config.warmup + 1)
    if config.lr_schedule == "constant":
        return config.learning_rate
    done = (step - 1 - config.warmup) / max(1, steps - config.warmup)
    falling = 1 - done if config.lr_schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.learning_rate * falling


def make_optimizer(config: TrainConfig) -> Any:
    """Return the optimiser of mlx.optimizers that the settings name."""
    return OPTIMIZERS[config.optimizer](config.learning_rate, config.weight_decay)
