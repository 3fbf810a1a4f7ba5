"""Draws the next tokens of a batch's rows by the settings of an answer. Knows no models, no texts and no adapters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p

from tunesmith.inference.sampling import Sampling

PENALTY_TOKENS = 20  # how far back penalties look: mlx-lm's own default
MOST_STEPS = 100_003  # more than an answer can have tokens, so that no two tokens of two seeds share their chance
RowSampler = Callable[[mx.array], mx.array]
Processor = Callable[[Any, mx.array], mx.array]


class TokenSampler:
    """The chance of a row's n-th token depends on its seed and n alone: whoever else is in the batch changes nothing."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling

    @property
    def penalises(self) -> bool:
        """Whether the tokens before matter."""
        return self.sampling.repetition_penalty != 1 or self.sampling.presence_penalty != 0

    def penalise(self, logits: mx.array, context: mx.array) -> mx.array:
        """Return logits [B, V] with the tokens of the context [B, C] less likely; one that stands there twice counts once.

        Repetition: Keskar et al., arXiv 1909.05858. Presence: the option of that name in OpenAI's API.
        """
        chosen = mx.take_along_axis(logits, context, axis=1)
        factor = self.sampling.repetition_penalty
        chosen = mx.where(chosen < 0, chosen * factor, chosen / factor) - self.sampling.presence_penalty
        return mx.put_along_axis(logits, context, chosen, axis=1)

    def choose(self, logprobs: mx.array, seeds: Sequence[int], step: int | Sequence[int]) -> mx.array:
        """Return each row's token [B] of log-probabilities [B, V]: the answer's `step`-th, counted from 0, for all rows or for each."""
        if self.sampling.temperature == 0:
            return mx.argmax(logprobs, axis=-1)
        kept = self._cut_tail(logprobs)
        steps = [step] * len(seeds) if isinstance(step, int) else step
        return mx.argmax(kept * (1 / self.sampling.temperature) + _noise(seeds, steps, kept.shape[-1]), axis=-1)

    def _cut_tail(self, logprobs: mx.array) -> mx.array:
        settings = self.sampling
        if settings.top_p < 1:
            logprobs = apply_top_p(logprobs, settings.top_p)
        if settings.min_p > 0:
            logprobs = apply_min_p(logprobs, settings.min_p)
        if 0 < settings.top_k < logprobs.shape[-1]:
            logprobs = apply_top_k(logprobs, settings.top_k)
        return logprobs

    def for_row(self, seed: int) -> RowSampler:
        """Return a sampler of one answer for mlx-lm's generators; it counts the tokens itself."""
        steps = itertools.count()
        return lambda logprobs: self.choose(logprobs, [seed], next(steps))

    def processors(self) -> list[Processor]:
        """Return the penalties for mlx-lm's generators, one row at a time."""
        return [lambda tokens, logits: self.penalise(logits, tokens[-PENALTY_TOKENS:][None])] if self.penalises else []


def _noise(seeds: Sequence[int], steps: Sequence[int], width: int) -> mx.array:
    """Return Gumbel noise, [1, V] when all rows have one seed and step, else [B, V]: the likeliest token under it is a draw."""
    keys = [seed * MOST_STEPS + step for seed, step in zip(seeds, steps, strict=True)]
    drawn = {key: mx.random.gumbel((1, width), key=mx.random.key(key)) for key in set(keys)}
    return drawn[keys[0]] if len(drawn) == 1 else mx.concatenate([drawn[key] for key in keys])


def context_before(prompts: Sequence[Sequence[int]]) -> mx.array:
    """Return what the penalties see before each prompt's last token [B, C]; a short prompt's first token fills its row."""
    rows = [list(prompt[-PENALTY_TOKENS - 1 : -1]) or [prompt[-1]] for prompt in prompts]
    return mx.array([[row[0]] * (PENALTY_TOKENS - len(row)) + row for row in rows])
