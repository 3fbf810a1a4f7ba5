"""Answers that are written together, a row each: prompts are read in groups of like length, each step draws a token for every row.

Knows token ids, no texts. Compared with mlx-lm's BatchGenerator, whose caches it uses: all rows draw in one call, no row's
log-probabilities are kept, prompts are padded little, and rows that ended leave the batch several at a time, since that copies the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from tunesmith.inference.token_sampler import TokenSampler, context_before

PREFILL_TOKENS = 2048
MOST_PADDING = 1.25  # tokens read with their padding, over those without
Step = tuple[mx.array, mx.array]  # tokens [B] and their log-probabilities [B]


class RowBatch:
    """The cache of the rows, what draws their tokens, what penalties see. `model` is worn as its adapters are when a method is called."""

    def __init__(self, model: Any, sampler: TokenSampler, most_padding: float = MOST_PADDING) -> None:
        self._model, self._sampler, self._most_padding = model, sampler, most_padding
        self._cache: list[Any] = []
        self._seeds: list[int] = []
        self._steps: list[int] = []  # tokens that each row has drawn
        self._context: mx.array | None = None

    def read(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int]) -> None:
        """Fill an empty batch: all but the last token of prompts, sorted by length, go into the cache."""
        for group in like_lengths(prompts, self._most_padding):
            self._extend_cache(self._read_group([list(prompt[:-1]) for prompt in group]))
        self._seeds, self._steps = list(seeds), [0] * len(seeds)
        if self._sampler.penalises:
            self._context = context_before(prompts)

    def extend(self, other: RowBatch) -> None:
        """Add another batch's rows."""
        self._extend_cache(other._cache)
        self._seeds += other._seeds
        self._steps += other._steps
        if other._context is not None:
            self._context = other._context if self._context is None else mx.concatenate([self._context, other._context])

    def _extend_cache(self, cache: list[Any]) -> None:
        for layer, more in zip(self._cache, cache, strict=bool(self._cache)):
            layer.extend(more)
        self._cache = self._cache or cache

    def _read_group(self, prompts: list[list[int]]) -> list[Any]:
        """Return the cache of prompts, which are filled up on the right; the cache turns that into padding on the left."""
        lengths = [len(prompt) for prompt in prompts]
        width = max(lengths)
        padding = [width - length for length in lengths]
        cache = [layer.merge([layer] * len(prompts)) for layer in make_prompt_cache(self._model)]
        if any(padding):
            for layer in cache:
                layer.prepare(lengths=lengths, right_padding=padding)
        ids = mx.array([prompt + [0] * more for prompt, more in zip(prompts, padding, strict=True)])
        for start in range(0, width, PREFILL_TOKENS):
            self._model(ids[:, start : start + PREFILL_TOKENS], cache=cache)
            mx.eval([layer.state for layer in cache])
        if any(padding):
            for layer in cache:
                layer.finalize()
        return cache

    def step(self, tokens: mx.array) -> Step:
        """Begin to compute the tokens after these [B], and their log-probabilities [B]."""
        logits = self._model(tokens[:, None], cache=self._cache)[:, -1]
        if self._context is not None:
            self._context = mx.concatenate([self._context[:, 1:], tokens[:, None]], axis=1)
            logits = self._sampler.penalise(logits, self._context)
        logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        chosen = self._sampler.choose(logprobs, self._seeds, self._steps)
        self._steps = [count + 1 for count in self._steps]
        found = chosen, mx.take_along_axis(logprobs, chosen[:, None], axis=1)[:, 0]
        mx.async_eval(*found)  # type: ignore[no-untyped-call]
        return found

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all other rows."""
        chosen = mx.array(list(rows))
        self._cache = self._cache if rows else []
        for layer in self._cache:
            layer.filter(chosen)
        self._seeds = [self._seeds[row] for row in rows]
        self._steps = [self._steps[row] for row in rows]
        if self._context is not None:
            self._context = self._context[chosen] if rows else None


def like_lengths(prompts: Sequence[Sequence[int]], most_padding: float = MOST_PADDING) -> Iterator[Sequence[Sequence[int]]]:
    """Yield prompts, sorted by length, in groups that have at most so many times their own tokens when they are filled up to one length.

    The last token of a prompt is not among what is read. 1: only equally long ones go together.
    """
    begin = tokens = 0
    for place, prompt in enumerate(prompts):
        length = len(prompt) - 1
        tokens += length
        padded = (place + 1 - begin) * length
        if place > begin and padded > most_padding * tokens:
            yield prompts[begin:place]
            begin, tokens = place, length
    if prompts:
        yield prompts[begin:]
