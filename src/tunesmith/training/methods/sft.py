"""Supervised fine-tuning: cross-entropy of the next token where the loss counts. Knows batches and models, no files."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from tunesmith.training.batches import Batch
from tunesmith.training.forward import Forward


def summed_loss(model: Any, batch: Batch, forward: Forward) -> mx.array:
    """Return the float32 sum of the cross-entropy over the supervised tokens of a batch."""
    return forward.summed_loss(model, batch)
