"""How a batch goes through a model: packed or padded, all logits or only those where the loss counts. Decided by trial at the start.

Knows models by what they compute, not by name: whatever does not give the plain loss on two rows is not used.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from tunesmith.data.batching import BatchRules
from tunesmith.data.templates import Encoded
from tunesmith.models.heads import dense_head_weight, hidden_states, project
from tunesmith.training.batches import Batch, make_batch
from tunesmith.training.cross_entropy import summed_cross_entropy, token_log_probabilities
from tunesmith.training.packing import SegmentMask
from tunesmith.training.prompt_sharing import SharedBatch, answer_states, make_shared_passes

logger = logging.getLogger(__name__)
CHUNKED_FROM_VOCABULARY = 4096  # below, one piece of logits is small and the plain form is as fast
TOLERANCE = {mx.float32: 1e-4}
TOLERANCE_HALF = 2e-2
TRIAL_TOKENS = 48


@dataclass(frozen=True)
class Forward:
    """Which shortcuts a model allows: `labels_only` logits, `packing` of rows, `chunked` cross-entropy, `shared_prompts` of policies."""

    labels_only: bool = False
    packing: bool = False
    chunked: bool = False
    shared_prompts: bool = False

    def summed_loss(self, model: Any, batch: Batch) -> mx.array:
        """Return the float32 sum of the cross-entropy where the loss counts."""
        states = self._states(model, batch)
        weight = self._chunked_weight(model)
        if weight is not None:
            return summed_cross_entropy(states, weight, batch.targets, batch.counts)
        return _cross_entropy(self._logits(model, states), batch)

    def log_probabilities(self, model: Any, batch: Batch | SharedBatch, temperature: float = 1.0) -> tuple[mx.array, mx.array]:
        """Return, where the loss counts, the float32 log-probabilities of the targets [N] and the entropies [N] (without gradient).

        Both are of the distribution at a temperature, the one that tokens were drawn from.
        """
        states = self._states(model, batch)
        weight = self._chunked_weight(model)
        if weight is not None:
            return token_log_probabilities(states, weight, batch.targets, temperature)
        return _log_softmax(self._logits(model, states), batch.targets, temperature)

    def _states(self, model: Any, batch: Batch | SharedBatch) -> mx.array:
        """Return, where the loss counts, the hidden states [N, D], or the logits [N, V] of a model that is not called in halves."""
        if isinstance(batch, SharedBatch):
            return answer_states(batch, len(model.layers), partial(self._call, model))
        cache = None if batch.segments is None else [SegmentMask(batch.segments)] * len(model.layers)
        states = self._call(model, batch.inputs, cache)
        return states.reshape(-1, states.shape[-1])[batch.positions]

    def _call(self, model: Any, inputs: mx.array, cache: Sequence[Any] | None) -> mx.array:
        if self.labels_only:
            return hidden_states(model, inputs, cache)
        logits: mx.array = model(inputs) if cache is None else model(inputs, cache=cache)
        return logits

    def _chunked_weight(self, model: Any) -> mx.array | None:
        return dense_head_weight(model) if self.labels_only and self.chunked else None

    def _logits(self, model: Any, states: mx.array) -> mx.array:
        return project(model, states) if self.labels_only else states


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


def try_shared_prompts(model: Any, rows: Sequence[Encoded], forward: Forward) -> Forward:
    """Return `forward`, and with `shared_prompts` where two prompts with two answers each then have the plain log-probabilities."""
    ids = [token for row in rows for token in row.ids] or [0]
    tokens = [ids[place % len(ids)] for place in range(TRIAL_TOKENS)]
    prompts, answers = (tokens[:13], tokens[13:20]), ((tokens[20:29], tokens[29:34]), (tokens[34:47], tokens[47:]))
    trial = [Encoded([*p, *a], [False] * len(p) + [True] * len(a)) for p, both in zip(prompts, answers, strict=True) for a in both]
    lengths = [len(p) for p in prompts for _ in range(2)]
    shared = replace(forward, shared_prompts=True)
    plain = np.concatenate([_in_order(Forward(), model, make_batch([row], BatchRules(1, TRIAL_TOKENS, 0))) for row in trial])
    try:
        (batch,) = make_shared_passes(trial, lengths, BatchRules(4, TRIAL_TOKENS, 0), always=True)
        found = _in_order(shared, model, batch)
    except (AttributeError, TypeError, ValueError, KeyError, IndexError, RuntimeError, AssertionError) as error:
        logger.info("prompts are computed once per answer: %s", f"{type(error).__name__}: {error}"[:200])
        return forward
    distance = float(np.abs(found - plain).mean() / np.abs(plain).mean())
    if not distance <= TOLERANCE.get(_dtype(model), TOLERANCE_HALF):
        logger.info("prompts are computed once per answer: log-probabilities differ by %.3g of their size", distance)
        return forward
    return shared


def _in_order(forward: Forward, model: Any, batch: Batch | SharedBatch) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return the log-probabilities of a batch's tokens in the order of its rows."""
    logs = np.array(forward.log_probabilities(model, batch)[0])[: batch.supervised_tokens]
    order = np.argsort(batch.owners[: batch.supervised_tokens], kind="stable")
    ordered: np.ndarray[tuple[int], np.dtype[np.float32]] = logs[order]
    return ordered


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
