"""How a batch goes through a model: packed or padded, all logits or only those where the loss counts. Decided by trial at the start.

Knows models by what they compute, not by name: whatever does not give the plain loss on two rows is not used.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from tunesmith.data.batching import BatchRules
from tunesmith.data.templates import Encoded
from tunesmith.models.heads import dense_head_weight, hidden_states, project
from tunesmith.training.batches import Batch, make_batch
from tunesmith.training.cross_entropy import summed_cross_entropy, token_log_probabilities
from tunesmith.training.packing import SegmentMask

logger = logging.getLogger(__name__)
CHUNKED_FROM_VOCABULARY = 4096  # below, one piece of logits is small and the plain form is as fast
TOLERANCE = {mx.float32: 1e-4}
TOLERANCE_HALF = 2e-2
TRIAL_TOKENS = 48


@dataclass(frozen=True)
class Forward:
    """Which shortcuts a model allows: `labels_only` logits, `packing` of rows, `chunked` cross-entropy."""

    labels_only: bool = False
    packing: bool = False
    chunked: bool = False

    def summed_loss(self, model: Any, batch: Batch) -> mx.array:
        """Return the float32 sum of the cross-entropy where the loss counts."""
        if not self.labels_only:
            return _cross_entropy(_all_logits(model, batch), batch)
        hidden = _hidden(model, batch)
        weight = dense_head_weight(model) if self.chunked else None
        if weight is not None:
            return summed_cross_entropy(hidden, weight, batch.targets, batch.counts)
        return _cross_entropy(project(model, hidden), batch)

    def log_probabilities(self, model: Any, batch: Batch, temperature: float = 1.0) -> tuple[mx.array, mx.array]:
        """Return, where the loss counts, the float32 log-probabilities of the targets [N] and the entropies [N] (without gradient).

        Both are of the distribution at a temperature, the one that tokens were drawn from.
        """
        if not self.labels_only:
            return _log_softmax(_all_logits(model, batch), batch.targets, temperature)
        hidden = _hidden(model, batch)
        weight = dense_head_weight(model) if self.chunked else None
        if weight is not None:
            return token_log_probabilities(hidden, weight, batch.targets, temperature)
        return _log_softmax(project(model, hidden), batch.targets, temperature)


def _all_logits(model: Any, batch: Batch) -> mx.array:
    logits: mx.array = model(batch.inputs)
    return logits.reshape(-1, logits.shape[-1])[batch.positions]


def _hidden(model: Any, batch: Batch) -> mx.array:
    """Return the hidden states [N, D] where the loss counts."""
    cache = None if batch.segments is None else [SegmentMask(batch.segments)] * len(model.layers)
    hidden = hidden_states(model, batch.inputs, cache)
    return hidden.reshape(-1, hidden.shape[-1])[batch.positions]


def _log_softmax(logits: mx.array, targets: mx.array, temperature: float) -> tuple[mx.array, mx.array]:
    logits = logits.astype(mx.float32) / temperature
    norm = mx.logsumexp(logits, axis=-1, keepdims=True)
    chosen = mx.take_along_axis(logits, targets[:, None], axis=-1)
    frozen = mx.stop_gradient(logits - norm)
    return (chosen - norm)[:, 0], -(mx.exp(frozen) * frozen).sum(axis=-1)


def _cross_entropy(logits: mx.array, batch: Batch) -> mx.array:
    total: mx.array = (nn.losses.cross_entropy(logits.astype(mx.float32), batch.targets) * batch.counts).sum()
    return total


def choose_forward(model: Any, rows: Sequence[Encoded]) -> tuple[Forward, str]:
    """Try the shortcuts on two rows of the data; return the best that gives the plain loss, and why not more (empty: all of them)."""
    trial = [row.cut(TRIAL_TOKENS) for row in rows[:2]]
    trial = [Encoded(row.ids, [True] * len(row.ids)) for row in trial]
    longest = max(len(row.ids) for row in trial)
    padded = make_batch(trial, BatchRules(2, longest, 0))
    plain = float(Forward().summed_loss(model, padded))
    labels_only = Forward(labels_only=True)
    if reason := _differs(labels_only, model, padded, plain):
        return Forward(), reason
    weight = dense_head_weight(model)
    if weight is not None and weight.shape[0] >= CHUNKED_FROM_VOCABULARY:
        chunked = replace(labels_only, chunked=True)
        labels_only = labels_only if _differs(chunked, model, padded, plain) else chunked
    packing = replace(labels_only, packing=True)
    if reason := _differs(packing, model, make_batch(trial, BatchRules(2, longest, 0, packed=True, attention_width=1 << 20)), plain):
        return labels_only, reason
    return packing, ""


def _differs(forward: Forward, model: Any, batch: Batch, expected: float) -> str:
    """Return why a shortcut cannot be used, empty when it gives the expected loss."""
    try:
        loss = float(forward.summed_loss(model, batch))
    except (AttributeError, TypeError, ValueError, KeyError, IndexError) as error:
        return f"{type(error).__name__}: {error}"[:200]
    tolerance = TOLERANCE.get(_dtype(model), TOLERANCE_HALF)
    if not abs(loss - expected) <= tolerance * abs(expected):
        return f"loss {loss:.6g} instead of {expected:.6g}"
    return ""


def _dtype(model: Any) -> mx.Dtype:
    dtype: mx.Dtype = model.layers[0].input_layernorm.weight.dtype if hasattr(model.layers[0], "input_layernorm") else mx.float16
    return dtype
