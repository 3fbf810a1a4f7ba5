"""Which rows go together in a step, and in which lines: pure functions of (rows, seed, step). Knows no mlx and no model.

Rows are never sorted or grouped by length: with a token mean that costs quality (validation 2.7 against 2.5 in our measurements).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tunesmith.data.templates import Encoded

PAD_TO = 32  # few distinct shapes
LINE_TOKENS = 1024  # lines are never made wider than this by packing


@dataclass(frozen=True)
class BatchRules:
    """How rows become batches; `longest` in tokens, `accumulate` batches make a step."""

    batch_size: int
    longest: int
    seed: int
    packed: bool = False
    accumulate: int = 1
    attention_width: int = 1024  # the line width at which attention costs as much as the rest of a block
    pass_tokens: int = 0  # how many tokens go through the model at once, at least one line; 0: the whole batch

    def steps_per_epoch(self, rows: int) -> int:
        """Return how many steps see every row once; the last may be smaller."""
        return -(-rows // (self.batch_size * self.accumulate))

    def steps(self, rows: int, iters: int, epochs: float) -> int:
        """Return the steps of a run: `iters`, or as many as `epochs` need when that is not 0."""
        return max(1, math.ceil(epochs * self.steps_per_epoch(rows) - 1e-9)) if epochs else iters


def pass_tokens(device: str) -> int:
    """Return how many tokens go through the model at once on `cpu`, `metal` or `cuda`: beyond, only memory grows (measured on a CPU)."""
    return 512 if device == "cpu" else 4096


def attention_width(model_config: Mapping[str, Any]) -> int:
    """Return the line width at which attention costs about as much as the rest of a block: 4 x the hidden size (measured on a CPU)."""
    hidden = (model_config.get("text_config") or model_config).get("hidden_size")
    return 4 * hidden if isinstance(hidden, int) and hidden > 0 else 1024


class Shape(NamedTuple):
    """A pass's size: `lines` of `width` tokens with `labels` supervised ones."""

    lines: int
    width: int
    labels: int


def order_of_epoch(count: int, epoch: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the order of the rows [count] in an epoch: a function of (seed, epoch) alone, so that a resume finds its place."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def rows_of_step(count: int, step: int, rules: BatchRules) -> list[list[int]]:
    """Return the rows of a step, counted from 0, as one list per batch; the last step of an epoch may have fewer."""
    per_step = rules.batch_size * rules.accumulate
    epoch, place = divmod(step, rules.steps_per_epoch(count))
    chosen = order_of_epoch(count, epoch, rules.seed)[place * per_step : (place + 1) * per_step].tolist()
    return [chosen[begin : begin + rules.batch_size] for begin in range(0, len(chosen), rules.batch_size)]


def plan_lines(lengths: Sequence[int], rules: BatchRules) -> tuple[list[list[int]], int]:
    """Return which rows share a line, and the width of the lines (tokens), a multiple of 32 where the longest allowed row permits.

    Padded: a line each. Packed: first fit of the longest first, into the width that costs least: wider lines waste fewer tokens and
    more attention.
    """
    if not rules.packed:
        alone = [[i] for i in range(len(lengths))]
        return alone, _width(lengths, alone, rules)
    narrowest = -(-max(lengths) // PAD_TO) * PAD_TO
    widest = max(narrowest, min(rules.pass_tokens or LINE_TOKENS, LINE_TOKENS))
    plans = [_first_fit(lengths, capacity) for capacity in range(narrowest, widest + 1, PAD_TO)]
    widths = [_width(lengths, plan, rules) for plan in plans]
    costs = [len(plan) * width * (1 + width / rules.attention_width) for plan, width in zip(plans, widths, strict=True)]
    best = costs.index(min(costs))
    return plans[best], widths[best]


def plan_passes(lengths: Sequence[int], rules: BatchRules) -> list[tuple[list[list[int]], int]]:
    """Return a batch as passes (lines, width) of at most `pass_tokens` tokens each; their sums are the batch's, exactly."""
    lines, width = plan_lines(lengths, rules)
    if not rules.pass_tokens or len(lines) * width <= rules.pass_tokens:
        return [(lines, width)]
    ordered = sorted(lines, key=lambda line: -sum(lengths[i] for i in line))  # lines of a pass are about equally long
    passes: list[tuple[list[list[int]], int]] = []
    while ordered:
        width = _width(lengths, ordered[:1], rules)
        count = max(1, rules.pass_tokens // width)
        passes.append((ordered[:count], width))
        ordered = ordered[count:]
    return passes


def _width(lengths: Sequence[int], lines: Sequence[Sequence[int]], rules: BatchRules) -> int:
    used = max(sum(lengths[i] for i in line) for line in lines)
    rounded = -(-used // PAD_TO) * PAD_TO
    return rounded if rules.packed else min(rounded, max(rules.longest, used))


def _first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    lines: list[tuple[int, list[int]]] = []
    for row in order:
        for number, (used, members) in enumerate(lines):
            if used + lengths[row] <= capacity:
                lines[number] = (used + lengths[row], [*members, row])
                break
        else:
            lines.append((lengths[row], [row]))
    return [members for _, members in lines]


def group_pairs(tokens: Sequence[int], rules: BatchRules) -> list[range]:
    """Return which pairs share a pass, in order, by the tokens of each: about `pass_tokens`, at least one pair."""
    groups: list[range] = []
    begin, used = 0, 0
    for place, size in enumerate(tokens):
        if place > begin and rules.pass_tokens and used + size > rules.pass_tokens:
            groups.append(range(begin, place))
            begin, used = place, 0
        used += size
    return [*groups, range(begin, len(tokens))] if tokens else groups


def iterate_shapes(rows: Sequence[Encoded], rules: BatchRules, steps: int) -> Iterator[Shape]:
    """Yield the size of every pass of the first `steps` steps."""
    lengths = [len(row.ids) - 1 for row in rows]
    labels = [sum(row.supervised[1:]) for row in rows]
    for step in range(steps):
        for chosen in rows_of_step(len(rows), step, rules):
            for lines, width in plan_passes([lengths[i] for i in chosen], rules):
                yield Shape(len(lines), width, sum(labels[chosen[i]] for line in lines for i in line))


def padding_share(rows: Sequence[Encoded], rules: BatchRules) -> float:
    """Return which share of the computed tokens is padding, over one epoch (500 steps at most)."""
    steps = min(rules.steps_per_epoch(len(rows)), 500)
    computed = sum(shape.lines * shape.width for shape in iterate_shapes(rows, rules, steps))
    used = sum(len(rows[i].ids) - 1 for step in range(steps) for chosen in rows_of_step(len(rows), step, rules) for i in chosen)
    return 1 - used / max(1, computed)


def largest_shape(rows: Sequence[Encoded], rules: BatchRules, steps: int) -> Shape:
    """Return the pass with the most tokens, padding included, among the first `steps` steps (500 at most)."""
    return max(iterate_shapes(rows, rules, min(steps, 500)), key=lambda shape: (shape.lines * shape.width, shape.labels))
