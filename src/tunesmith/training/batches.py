"""Encoded rows to padded batches: random, reshuffled each epoch, every row seen in every epoch. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from tunesmith.data.templates import Encoded

PAD_TO = 32  # few distinct shapes


@dataclass(frozen=True)
class Batch:
    """Inputs and next tokens, all [B, T]; `weights` is 1 where the loss counts."""

    inputs: mx.array
    targets: mx.array
    weights: mx.array
    tokens: int
    supervised_tokens: int
    epoch: float


def make_batch(rows: Sequence[Encoded], longest: int, epoch: float = 0.0) -> Batch:
    """Pad rows to a common length, a multiple of 32 where `longest` (tokens) allows."""
    length = max(len(row.ids) for row in rows) - 1
    length = min(-(-length // PAD_TO) * PAD_TO, max(longest, length))
    inputs, targets = np.zeros((len(rows), length), np.int32), np.zeros((len(rows), length), np.int32)
    weights = np.zeros((len(rows), length), np.float32)
    for i, row in enumerate(rows):
        n = len(row.ids) - 1
        inputs[i, :n], targets[i, :n], weights[i, :n] = row.ids[:-1], row.ids[1:], row.supervised[1:]
    tokens = sum(len(row.ids) - 1 for row in rows)
    return Batch(mx.array(inputs), mx.array(targets), mx.array(weights), tokens, int(weights.sum()), epoch)


def order_of_epoch(count: int, epoch: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the order of the rows [count] in an epoch: a function of (seed, epoch) alone, so that a resume finds its place."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def iterate_batches(rows: Sequence[Encoded], batch_size: int, longest: int, seed: int, start_step: int = 0) -> Iterator[Batch]:
    """Yield batches for ever; the last one of an epoch may be smaller. `start_step` skips that many without making them."""
    per_epoch = -(-len(rows) // batch_size)
    step = start_step
    while True:
        epoch, place = divmod(step, per_epoch)
        order = order_of_epoch(len(rows), epoch, seed)
        chosen = order[place * batch_size : (place + 1) * batch_size]
        step += 1
        yield make_batch([rows[i] for i in chosen], longest, step / per_epoch)


def all_batches(rows: Sequence[Encoded], batch_size: int, longest: int, most: int) -> Iterator[Batch]:
    """Yield the rows once, in their order; at most `most` batches (-1: all)."""
    for number, begin in enumerate(range(0, len(rows), batch_size)):
        if most >= 0 and number >= most:
            return
        yield make_batch(rows[begin : begin + batch_size], longest)
