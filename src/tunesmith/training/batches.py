"""Chosen rows to arrays: packed or padded lines, and where the loss counts. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from tunesmith.data.batching import PAD_TO, BatchRules, Shape, order_of_epoch, plan_lines, plan_passes, rows_of_step
from tunesmith.data.templates import Encoded


@dataclass(frozen=True)
class Batch:
    """Lines of tokens, and where in them the loss counts.

    inputs [R, L]; positions [N] are places in the flattened inputs, targets [N] the tokens that follow there, counts [N] is 0 for
    padding; owners [N] are the rows that the tokens belong to, places [N] where in the row's ids the target stands; segments [R, L]
    tells the rows of a packed line apart (-1: padding), None for one row per line.
    """

    inputs: mx.array
    positions: mx.array
    targets: mx.array
    counts: mx.array
    owners: np.ndarray[tuple[int], np.dtype[np.int64]]
    places: np.ndarray[tuple[int], np.dtype[np.int64]]
    segments: mx.array | None
    tokens: int
    supervised_tokens: int

    @property
    def shape(self) -> Shape:
        """The size."""
        lines, width = self.inputs.shape
        return Shape(lines, width, self.supervised_tokens)


def make_batch(rows: Sequence[Encoded], rules: BatchRules) -> Batch:
    """Lay rows out in one pass, one per line or packed."""
    return _lay_out(rows, *plan_lines([len(row.ids) - 1 for row in rows], rules), rules.packed)


def make_passes(rows: Sequence[Encoded], rules: BatchRules) -> list[Batch]:
    """Lay the rows of a batch out in passes of bounded size."""
    plans = plan_passes([len(row.ids) - 1 for row in rows], rules)
    return [_lay_out(rows, lines, width, rules.packed) for lines, width in plans]


def _lay_out(rows: Sequence[Encoded], lines: Sequence[Sequence[int]], width: int, packed: bool) -> Batch:
    inputs = np.zeros((len(lines), width), np.int32)
    segments = np.full((len(lines), width), -1, np.int32)
    positions: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    places: list[int] = []
    for number, line in enumerate(lines):
        begin = 0
        for i in line:
            end = begin + len(rows[i].ids) - 1
            inputs[number, begin:end] = rows[i].ids[:-1]
            segments[number, begin:end] = i
            learned = np.flatnonzero(rows[i].supervised[1:])
            positions += (number * width + begin + learned).tolist()
            targets += [rows[i].ids[place + 1] for place in learned]
            owners += [i] * len(learned)
            places += (learned + 1).tolist()
            begin = end
    count = len(positions)
    padding = -count % PAD_TO
    return Batch(
        inputs=mx.array(inputs), positions=mx.array(np.pad(np.array(positions, np.int32), (0, padding))),
        targets=mx.array(np.pad(np.array(targets, np.int32), (0, padding))),
        counts=mx.array(np.pad(np.ones(count, np.float32), (0, padding))), owners=np.pad(np.array(owners, np.int64), (0, padding)),
        places=np.pad(np.array(places, np.int64), (0, padding)), segments=mx.array(segments) if packed else None,
        tokens=sum(len(rows[i].ids) - 1 for line in lines for i in line), supervised_tokens=count,
    )  # fmt: skip


def batches_of_step(rows: Sequence[Encoded], step: int, rules: BatchRules, rank: int = 0, ranks: int = 1) -> list[Batch]:
    """Return the passes of a step, counted from 0; of several processes, each takes every `ranks`-th row of a batch."""
    shares = [chosen[rank::ranks] for chosen in rows_of_step(len(rows), step, rules)]
    return [batch for chosen in shares if chosen for batch in make_passes([rows[i] for i in chosen], rules)]


def fixed_batches(rows: Sequence[Encoded], rules: BatchRules, most: int) -> Iterator[Batch]:
    """Yield the same rows at each call: all of them once, or a sample of `most` batches (-1: all)."""
    order = order_of_epoch(len(rows), 0, rules.seed) if most >= 0 else np.arange(len(rows))
    for number, begin in enumerate(range(0, len(rows), rules.batch_size)):
        if 0 <= most <= number:
            return
        yield from make_passes([rows[i] for i in order[begin : begin + rules.batch_size]], rules)
