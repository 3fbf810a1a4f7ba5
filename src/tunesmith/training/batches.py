"""Chosen rows to arrays: packed or padded lines, and where the loss counts. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from tunesmith.data.batching import PAD_TO, BatchRules, order_of_epoch, plan_lines, rows_of_step
from tunesmith.data.templates import Encoded


@dataclass(frozen=True)
class Batch:
    """Lines of tokens, and where in them the loss counts.

    inputs [R, L]; positions [N] are places in the flattened inputs, targets [N] the tokens that follow there, counts [N] is 0 for
    padding; segments [R, L] tells the rows of a packed line apart (-1: padding), None for one row per line.
    """

    inputs: mx.array
    positions: mx.array
    targets: mx.array
    counts: mx.array
    segments: mx.array | None
    tokens: int
    supervised_tokens: int


def make_batch(rows: Sequence[Encoded], rules: BatchRules) -> Batch:
    """Lay rows out, one per line or packed."""
    lengths = [len(row.ids) - 1 for row in rows]
    lines, width = plan_lines(lengths, rules)
    inputs = np.zeros((len(lines), width), np.int32)
    segments = np.full((len(lines), width), -1, np.int32)
    positions: list[int] = []
    targets: list[int] = []
    for number, line in enumerate(lines):
        begin = 0
        for i in line:
            end = begin + lengths[i]
            inputs[number, begin:end] = rows[i].ids[:-1]
            segments[number, begin:end] = i
            learned = np.flatnonzero(rows[i].supervised[1:])
            positions += (number * width + begin + learned).tolist()
            targets += [rows[i].ids[place + 1] for place in learned]
            begin = end
    count = len(positions)
    padding = -count % PAD_TO
    return Batch(
        inputs=mx.array(inputs), positions=mx.array(np.pad(np.array(positions, np.int32), (0, padding))),
        targets=mx.array(np.pad(np.array(targets, np.int32), (0, padding))),
        counts=mx.array(np.pad(np.ones(count, np.float32), (0, padding))), segments=mx.array(segments) if rules.packed else None,
        tokens=sum(lengths), supervised_tokens=count,
    )  # fmt: skip


def batches_of_step(rows: Sequence[Encoded], step: int, rules: BatchRules, rank: int = 0, ranks: int = 1) -> list[Batch]:
    """Return the batches of a step, counted from 0; of several processes, each takes every `ranks`-th row of a batch."""
    shares = [chosen[rank::ranks] for chosen in rows_of_step(len(rows), step, rules)]
    return [make_batch([rows[i] for i in chosen], rules) for chosen in shares if chosen]


def fixed_batches(rows: Sequence[Encoded], rules: BatchRules, most: int) -> Iterator[Batch]:
    """Yield the same rows at each call: all of them once, or a sample of `most` batches (-1: all)."""
    order = order_of_epoch(len(rows), 0, rules.seed) if most >= 0 else np.arange(len(rows))
    for number, begin in enumerate(range(0, len(rows), rules.batch_size)):
        if 0 <= most <= number:
            return
        yield make_batch([rows[i] for i in order[begin : begin + rules.batch_size]], rules)
