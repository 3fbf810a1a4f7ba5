"""Passes in which a prompt that several answers share is computed once: its keys and values are kept, and each answer attends to them.

Knows rows of tokens and mlx-lm's cache protocol; no loss, and no models by name: `forward.try_shared_prompts` finds out where it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from tunesmith.data.batching import PAD_TO, BatchRules, Shape
from tunesmith.data.templates import Encoded

ROUND_TO = 4  # widths are multiples of it: few distinct shapes
CALL_TOKENS = 64  # one more call of the model costs about as much time as this many tokens (measured on a CPU)
KEYS_PER_TOKEN = 32  # as many kept keys and values need about the memory of one computed token
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PassPlan:
    """Which `prompts` a pass computes, padded to `width` tokens, and its `blocks` of rows, each padded to a width of its own."""

    prompts: list[int]
    width: int
    blocks: list[tuple[list[int], int]]

    @property
    def tokens(self) -> int:
        """How many tokens are computed, padding included."""
        return len(self.prompts) * self.width + sum(len(rows) * width for rows, width in self.blocks)


@dataclass(frozen=True)
class AnswerBlock:
    """R answers of about one length: `inputs` [R, L] begin with the prompt's last token, `prompts` [R] are rows of the prefixes."""

    inputs: mx.array
    prompts: mx.array


@dataclass(frozen=True)
class SharedBatch:
    """P distinct prompts without their last tokens, padded on the left, and the answers to them.

    prefixes [P, L], of which the last prefix_lengths [P] tokens count; positions [N] are places in the flattened inputs of all blocks, one
    after the other; targets, counts, owners, places [N], tokens and supervised_tokens are those of `Batch`.
    """

    prefixes: mx.array
    prefix_lengths: mx.array
    blocks: list[AnswerBlock]
    positions: mx.array
    targets: mx.array
    counts: mx.array
    owners: Ints
    places: Ints
    tokens: int
    supervised_tokens: int

    @property
    def shape(self) -> Shape:
        """The size, as if its computed tokens stood in lines as wide as what an answer attends to."""
        width = self.prefixes.shape[1] + max(block.inputs.shape[1] for block in self.blocks)
        computed = self.prefixes.size + sum(block.inputs.size for block in self.blocks)
        return Shape(-(-computed // width), width, self.supervised_tokens)


class PrefixKeys:
    """What a layer takes for its key-value cache while the prefixes are computed: it keeps keys and values, and the way back to them."""

    def __init__(self, lengths: mx.array, width: int) -> None:
        self.lengths = lengths  # [P]
        self.width = width
        self.offset = lengths - width  # the first token that counts is at position 0
        self.keys = self.values = mx.zeros(0)

    def make_mask(self, N: int, return_array: bool = False, window_size: int | None = None, **_: object) -> mx.array:
        """Return [P, 1, N, N]: not later, no padding, and within a sliding window when the layer has one. mlx-lm's cache protocol."""
        del return_array
        place = mx.arange(N)
        itself = place[:, None] == place[None]  # padding sees itself: a softmax over nothing is no number on some devices
        return ((_reachable(place, place, window_size) & self.counted[:, None]) | itself)[:, None]

    @property
    def counted(self) -> mx.array:
        """Which tokens are no padding [P, width]."""
        return mx.arange(self.width) >= self.width - self.lengths[:, None]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Keep and return what came, [P, heads, N, size]."""
        self.keys, self.values = keys, values
        return keys, values


class AnswerKeys:
    """The same while answers are computed: before their own keys and values stand those of their prompts."""

    def __init__(self, prefix: PrefixKeys, prompts: mx.array) -> None:
        self._prefix = prefix
        self._prompts = prompts  # [R]
        self.offset = prefix.lengths[prompts]

    def make_mask(self, N: int, return_array: bool = False, window_size: int | None = None, **_: object) -> mx.array:
        """Return [R, 1, N, width + N]: the prompt without padding, the answer itself not later, and within a sliding window."""
        del return_array
        width = self._prefix.width
        keys = mx.arange(width + N)
        counted = self._prefix.counted[self._prompts]
        counted = mx.concatenate([counted, mx.ones((counted.shape[0], N), mx.bool_)], axis=1)
        return (_reachable(keys[width:], keys, window_size) & counted[:, None])[:, None]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Return keys and values [R, heads, width + N, size] of the prompts and the answers."""
        kept = (_of_prompts(self._prefix.keys, self._prompts), _of_prompts(self._prefix.values, self._prompts))
        return mx.concatenate([kept[0], keys], axis=2), mx.concatenate([kept[1], values], axis=2)


def _reachable(queries: mx.array, keys: mx.array, window_size: int | None) -> mx.array:
    mask = queries[:, None] >= keys[None]
    return mask if window_size is None else mask & (queries[:, None] < keys[None] + window_size)


def _of_prompts(kept: mx.array, prompts: mx.array) -> mx.array:
    """Return rows [R, ...] of kept [P, ...]. The way back is a matrix product: faster than adding row by row, and in a fixed order."""

    @mx.custom_function
    def rows(kept: mx.array) -> mx.array:
        return kept[prompts]

    @rows.vjp
    def backward(kept: mx.array, slopes: mx.array, _: Any) -> mx.array:
        chosen = (mx.arange(kept.shape[0])[:, None] == prompts[None]).astype(slopes.dtype)
        slope: mx.array = (chosen @ slopes.reshape(prompts.shape[0], -1)).reshape(kept.shape)
        return slope

    chosen: Any = rows(kept)
    found: mx.array = chosen
    return found


def answer_states(batch: SharedBatch, layers: int, apply: Callable[[mx.array, Sequence[Any]], mx.array]) -> mx.array:
    """Return what a model gives for the targets, [N, D]; `apply` calls it on ids [B, T] with a cache per layer and returns [B, T, D]."""
    prefixes = [PrefixKeys(batch.prefix_lengths, batch.prefixes.shape[1]) for _ in range(layers)]
    apply(batch.prefixes, prefixes)  # only keys and values are wanted: the rest is never evaluated
    states = [apply(block.inputs, [AnswerKeys(prefix, block.prompts) for prefix in prefixes]) for block in batch.blocks]
    return mx.concatenate([state.reshape(-1, state.shape[-1]) for state in states])[batch.positions]


def make_shared_passes(
    rows: Sequence[Encoded], prompt_lengths: Sequence[int], rules: BatchRules, always: bool = False
) -> list[SharedBatch]:
    """Lay rows of prompt and answer out in passes of bounded size; none when every row by itself is less to compute, unless `always`."""
    numbers: dict[tuple[int, ...], int] = {}
    prompts = [numbers.setdefault(tuple(row.ids[:n]), len(numbers)) for row, n in zip(rows, prompt_lengths, strict=True)]
    lengths = [len(row.ids) - n for row, n in zip(rows, prompt_lengths, strict=True)]
    plans = plan_shared_passes(prompts, [len(prompt) - 1 for prompt in numbers], lengths, rules.pass_tokens)
    if not always and sum(plan.tokens for plan in plans) > sum(len(row.ids) - 1 for row in rows):
        return []
    return [_lay_out(plan, list(numbers), prompts, rows) for plan in plans]


def plan_shared_passes(prompts: Sequence[int], prefixes: Sequence[int], answers: Sequence[int], most: int) -> list[PassPlan]:
    """Return passes of about `most` tokens (0: one pass); row i has `answers[i]` tokens after prompt `prompts[i]`.

    `prefixes` are the prompts' tokens without the last. A prompt's answers stay together where they fit; the longest prompts, and of a
    prompt the longest answers, come first.
    """
    members: dict[int, list[int]] = {}
    for row in sorted((row for row in range(len(prompts)) if answers[row]), key=lambda row: -answers[row]):
        members.setdefault(prompts[row], []).append(row)
    passes: list[dict[int, list[int]]] = []
    used = width = 0.0
    for prompt in sorted(members, key=lambda prompt: (-prefixes[prompt], prompt)):
        own = _rounded(prefixes[prompt])
        costs = [_rounded(answers[row]) + own / KEYS_PER_TOKEN for row in members[prompt]]
        whole = bool(passes) and (not most or used + width + sum(costs) <= most)
        for place, (row, cost) in enumerate(zip(members[prompt], costs, strict=True)):
            opening = 0 if place else width
            if (most and used + opening + cost > most) or not (place or whole):
                passes.append({})
                used, width = 0.0, own
                opening = own
            passes[-1].setdefault(prompt, []).append(row)
            used += opening + cost
    plans: list[PassPlan] = []
    for part in passes:
        blocks = plan_blocks([row for rows in part.values() for row in rows], answers)
        plans.append(PassPlan(list(part), _rounded(max(prefixes[prompt] for prompt in part)), blocks))
    return plans


def plan_blocks(rows: Sequence[int], answers: Sequence[int]) -> list[tuple[list[int], int]]:
    """Return rows in blocks of about one length, as (rows, width): as few tokens as possible, a further block counted as CALL_TOKENS."""
    ordered = sorted(rows, key=lambda row: -answers[row])
    starts = [place for place, row in enumerate(ordered) if not place or _rounded(answers[row]) != _rounded(answers[ordered[place - 1]])]
    widths = [_rounded(answers[ordered[start]]) for start in starts]
    ends = [*starts[1:], len(ordered)]
    best: list[tuple[int, int]] = []  # of the rows up to each end: the least cost, and the start of the last block
    for number, end in enumerate(ends):
        best.append(
            min(
                ((best[first - 1][0] if first else 0) + (end - starts[first]) * widths[first] + CALL_TOKENS, first)
                for first in range(number + 1)
            )
        )
    blocks: list[tuple[list[int], int]] = []
    number = len(ends) - 1
    while number >= 0:
        first = best[number][1]
        blocks.append((ordered[starts[first] : ends[number]], widths[first]))
        number = first - 1
    return blocks[::-1]


def _rounded(tokens: int) -> int:
    return max(1, -(-tokens // ROUND_TO)) * ROUND_TO


def _lay_out(plan: PassPlan, prompts: Sequence[Sequence[int]], prompt_of: Sequence[int], rows: Sequence[Encoded]) -> SharedBatch:
    prefixes = np.zeros((len(plan.prompts), plan.width), np.int32)
    for line, prompt in zip(prefixes, plan.prompts, strict=True):
        line[plan.width - len(prompts[prompt]) + 1 :] = prompts[prompt][:-1]
    blocks: list[AnswerBlock] = []
    positions: list[Ints] = []
    targets: list[int] = []
    places: list[Ints] = []
    begin = 0
    for members, width in plan.blocks:
        inputs = np.zeros((len(members), width), np.int32)
        for line, row in zip(inputs, members, strict=True):
            ids, length = rows[row].ids, len(prompts[prompt_of[row]])
            count = len(ids) - length
            line[:count] = ids[length - 1 : -1]
            targets += ids[length:]
            positions.append(np.arange(begin, begin + count))
            places.append(np.arange(length, len(ids)))
            begin += width
        blocks.append(AnswerBlock(mx.array(inputs), mx.array([plan.prompts.index(prompt_of[row]) for row in members])))
    ordered = [row for members, _ in plan.blocks for row in members]
    owners = np.repeat(np.array(ordered, np.int64), [len(found) for found in places])
    count = len(targets)
    padding = -count % PAD_TO
    return SharedBatch(
        prefixes=mx.array(prefixes), prefix_lengths=mx.array([len(prompts[prompt]) - 1 for prompt in plan.prompts]), blocks=blocks,
        positions=mx.array(np.pad(np.concatenate(positions), (0, padding)).astype(np.int32)),
        targets=mx.array(np.pad(np.array(targets, np.int32), (0, padding))),
        counts=mx.array(np.pad(np.ones(count, np.float32), (0, padding))), owners=np.pad(owners, (0, padding)),
        places=np.pad(np.concatenate(places), (0, padding)),
        tokens=sum(len(prompts[prompt]) - 1 for prompt in plan.prompts) + count, supervised_tokens=count,
    )  # fmt: skip
