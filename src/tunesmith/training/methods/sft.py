"""Supervised fine-tuning: cross-entropy of the next token where the loss counts. Knows batches and models, no files."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from tunesmith.training.batches import Batch


def summed_loss(model: nn.Module, batch: Batch) -> mx.array:
    """Return the float32 sum of the cross-entropy over the supervised tokens of a batch."""
    logits = model(batch.inputs)  # [B, T, V]
    entropy = nn.losses.cross_entropy(logits.astype(mx.float32), batch.targets)  # [B, T]
    total: mx.array = (entropy * batch.weights).sum()
    return total
