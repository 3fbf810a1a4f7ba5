"""A model in two halves: hidden states, and the projection onto the vocabulary. Knows no loss and no batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn


def hidden_states(model: Any, inputs: mx.array, cache: Sequence[Any] | None = None) -> mx.array:
    """Return the last hidden states [B, T, D] of ids [B, T], in the head's precision. Raises AttributeError for other builds."""
    hidden: mx.array = model.model(inputs, cache=cache)
    head = output_head(model)
    if isinstance(head, nn.Linear | nn.Embedding):  # of float32 states, its whole matrix would be copied into float32
        hidden = hidden.astype(head.weight.dtype)
    return hidden


def output_head(model: Any) -> Any:
    """Return the layer that projects onto the vocabulary: `lm_head`, or the tied embedding."""
    head = getattr(model, "lm_head", None)
    return model.model.embed_tokens if head is None else head


def project(model: Any, hidden: mx.array) -> mx.array:
    """Return the logits [N, V] of hidden states [N, D]."""
    head = output_head(model)
    logits: mx.array = head.as_linear(hidden) if isinstance(head, nn.Embedding | nn.QuantizedEmbedding) else head(hidden)
    cap = logit_cap(model)
    return mx.tanh(logits / cap) * cap if cap else logits


def logit_cap(model: Any) -> float:
    """Return the bound to which a model's logits are bent (Gemma 2's final_logit_softcapping), 0 for none."""
    own = getattr(model, "final_logit_softcapping", None)
    cap = own if own is not None else getattr(getattr(model, "args", None), "final_logit_softcapping", None)
    return float(cap) if isinstance(cap, int | float) else 0.0


def dense_head_weight(model: Any) -> mx.array | None:
    """Return the head's weight [V, D] when it is a plain frozen matrix, None otherwise (quantised, biased, trained, capped)."""
    head = output_head(model)
    plain = type(head) in {nn.Linear, nn.Embedding} and "bias" not in head and not logit_cap(model)
    if not plain or head.trainable_parameters():
        return None
    weight: mx.array = head.weight
    return weight
