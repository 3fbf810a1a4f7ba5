"""One move of the optimiser from a summed gradient: clipped, checked, at the step's learning rate. Knows no rows and no loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_map

from tunesmith.errors import UserError
from tunesmith.training.schedule import learning_rate_at

if TYPE_CHECKING:
    from tunesmith.training.prepare import Run


def add_gradients(total: Any, part: Any) -> Any:
    """Return the sum of two trees of gradients; None counts as zero."""
    return part if total is None else tree_map(mx.add, total, part)


def move_weights(run: Run, step: int, gradient: Any, loss: float) -> float:
    """Clip the gradient, move the trainable weights, return its norm before clipping.

    Raises UserError `loss_not_finite` and leaves the weights alone when loss or norm is no number.
    """
    gradient, norm = optim.clip_grad_norm(gradient, run.config.grad_clip or math.inf)
    grad_norm = float(norm)
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        run.recorder.metrics(step, train_loss=loss, grad_norm=grad_norm)
        raise UserError("loss_not_finite", step=step, learning_rate=run.config.learning_rate)
    run.optimizer.learning_rate = learning_rate_at(run.config, step, run.steps)
    run.optimizer.update(run.base.model, gradient)
    mx.eval(run.base.model.trainable_parameters(), run.optimizer.state)
    return grad_norm
