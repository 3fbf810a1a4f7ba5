"""One move of the optimiser from a summed gradient: clipped, checked, at the step's learning rate. Knows no rows and no loss."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_map

from tunesmith.errors import UserError
from tunesmith.training.schedule import learning_rate_at
from tunesmith.training.task import Run


class GradientSum:
    """Gradients added up over passes. Who takes the sum is its only holder, so that no copy outlives its use."""

    def __init__(self) -> None:
        self._total: Any = None

    def add(self, part: Any) -> None:
        """Add a tree of gradients."""
        self._total = part if self._total is None else tree_map(mx.add, self._total, part)

    def evaluate(self, *others: Any) -> None:
        """Compute the sum so far, and whatever else comes with it."""
        mx.eval(self._total, *others)

    def take(self, model: Any) -> Any:
        """Return the sum, zeros when nothing was added, and forget it."""
        total, self._total = self._total, None
        return tree_map(mx.zeros_like, model.trainable_parameters()) if total is None else total


def move_weights(run: Run, step: int, gradients: GradientSum, loss: float, count: int = 1) -> float:
    """Divide the sum over all processes by `count`, clip it, move the trainable weights; return its norm before clipping.

    Raises UserError `loss_not_finite` and leaves the weights alone when loss or norm is no number.
    """
    gradient = run.processes.sum_tree(gradients.take(run.base.model))
    gradient = tree_map(lambda g: g / count, gradient) if count != 1 else gradient
    gradient, norm = optim.clip_grad_norm(gradient, run.config.grad_clip or math.inf)
    grad_norm = float(norm)
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        run.recorder.metrics(step, train_loss=loss, grad_norm=grad_norm)
        raise UserError("loss_not_finite", step=step, learning_rate=run.config.learning_rate)
    run.optimizer.learning_rate = learning_rate_at(run.config, step, run.steps)
    run.optimizer.update(run.base.model, gradient)
    mx.eval(run.base.model.trainable_parameters(), run.optimizer.state)
    return grad_norm
