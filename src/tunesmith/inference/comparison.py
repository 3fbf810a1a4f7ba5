"""One question to a base and up to eight variants of it, answered from one copy of the base in one batch. Knows no processes.

The rows read their prompts together when these are equally long, else one length after the other, so nothing is ever padded but the
cache (on the left, masked). A batch multiplies matrices where an answer alone multiplies vectors, and padding moves the places that
a softmax sums: both change last bits of float32 (1e-6 of a logit), never the rule by which a token is chosen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.tuner.lora import LoRALinear

from tunesmith.data.formats import Message
from tunesmith.data.templates import render
from tunesmith.errors import UserError
from tunesmith.inference.adapter_bank import Adapter, AdapterBank
from tunesmith.inference.adapter_rows import AdapterRows, fit_one_batch
from tunesmith.inference.batch_generation import PREFILL_TOKENS
from tunesmith.inference.generation import AnswerStream, generate_side_by_side
from tunesmith.inference.protocol import Delta
from tunesmith.inference.sampling import Sampling
from tunesmith.inference.token_sampler import TokenSampler, context_before

MOST_VARIANTS = 9
STEPS_BETWEEN_CLEARING = 256  # as mlx-lm's
Prompt = list[int]
Step = tuple[Any, Any]  # tokens [B] and their log-probabilities [B]


@dataclass(frozen=True)
class Variant:
    """Who answers: the base (no adapter), or an adapter of it, `strength` times as strong as it was made.

    `template` is the prompt format that it learned, None for the tokenizer's own; `seed` goes before the sampling's.
    """

    adapter: Adapter | None = None
    strength: float = 1.0
    template: str | None = None
    seed: int | None = None


def compare(bank: AdapterBank, variants: Sequence[Variant], messages: Sequence[Message], sampling: Sampling) -> Iterator[Delta]:
    """Yield the variants' answers as they grow; closing the iterator ends them within a token, and the base wears nothing again.

    An answer is the one that its variant gives alone. DoRA, full tuning and caches that know no batches take turns instead.
    Raises UserError `too_many_variants`, `adapter_strength_unsupported`, `model_without_chat_template`, `template_broken`.
    """
    if len(variants) > MOST_VARIANTS:
        raise UserError("too_many_variants", asked=len(variants), most=MOST_VARIANTS)
    try:
        if fit_one_batch([variant.adapter for variant in variants]) and _can_batch(bank.base.model):
            yield from _answer_together(bank, variants, messages, sampling)
        else:
            yield from _answer_in_turns(bank, variants, messages, sampling)
    finally:
        bank.activate(None)


def interleave(streams: Sequence[tuple[Sequence[int], Iterator[Delta]]]) -> Iterator[Delta]:
    """Yield the deltas of comparisons with different bases in turns; each comes with its variants' numbers among all."""
    going = list(streams)
    while going:
        for stream in list(going):
            numbers, deltas = stream
            if (delta := next(deltas, None)) is None:
                going.remove(stream)
            else:
                yield replace(delta, variant=numbers[delta.variant])


def _can_batch(model: Any) -> bool:
    return all(hasattr(layer, "merge") for layer in make_prompt_cache(model))


def _answer_in_turns(
    bank: AdapterBank, variants: Sequence[Variant], messages: Sequence[Message], sampling: Sampling
) -> Iterator[Delta]:  # fmt: skip
    adapters = [_strengthened(variant, number) for number, variant in enumerate(variants)]
    activates = [lambda adapter=adapter: bank.activate(adapter) for adapter in adapters]
    templates = [variant.template for variant in variants]
    seeds = [_seed(variant, sampling) for variant in variants]
    yield from generate_side_by_side(bank.base.model, bank.base.tokenizer, messages, sampling, activates, templates, seeds)


def _strengthened(variant: Variant, number: int) -> Adapter | None:
    if variant.adapter is None or variant.strength == 1:
        return variant.adapter
    if not fit_one_batch([variant.adapter]):
        raise UserError("adapter_strength_unsupported", number=number + 1)
    return Adapter({place: _scaled_copy(part, variant.strength) for place, part in variant.adapter.parts.items()})


def _scaled_copy(part: LoRALinear, strength: float) -> LoRALinear:
    copy = LoRALinear.from_base(part.linear, r=part.lora_a.shape[1], scale=part.scale * strength)
    copy.lora_a, copy.lora_b = part.lora_a, part.lora_b
    copy.eval()
    return copy


def _seed(variant: Variant, sampling: Sampling) -> int:
    return sampling.seed if variant.seed is None else variant.seed


def _answer_together(
    bank: AdapterBank, variants: Sequence[Variant], messages: Sequence[Message], sampling: Sampling
) -> Iterator[Delta]:  # fmt: skip
    tokenizer = bank.base.tokenizer
    prompts = [render(tokenizer, messages, answer_next=True, template=variant.template) for variant in variants]
    order = sorted(range(len(variants)), key=lambda number: len(prompts[number]))
    streams = [AnswerStream(number, tokenizer, sampling.max_tokens) for number in order]
    batch = _Batch(bank, [variants[number] for number in order], [prompts[number] for number in order], sampling)
    current = batch.step(mx.array([prompts[number][-1] for number in order]))
    for step in itertools.count(1):
        following = batch.step(current[0]) if step < sampling.max_tokens else current  # computed while the current ones are told
        tokens, logprobs = current
        for stream, token, logprob in zip(streams, tokens.tolist(), logprobs.tolist(), strict=True):
            yield stream.take(token, logprob)
        going = [row for row, stream in enumerate(streams) if not stream.finish]
        if not going:
            return
        if len(going) < len(streams):
            batch.keep(going)
            streams = [streams[row] for row in going]
            following = following[0][mx.array(going)], following[1][mx.array(going)]
        current = following
        if step % STEPS_BETWEEN_CLEARING == 0:
            mx.clear_cache()


class _Batch:
    """The rows that are still written: their adapters, their cache, what their penalties see."""

    def __init__(self, bank: AdapterBank, variants: Sequence[Variant], prompts: Sequence[Prompt], sampling: Sampling) -> None:
        self._model = bank.base.model
        self._rows = AdapterRows(bank, [(variant.adapter, variant.strength) for variant in variants])
        self._sampler = TokenSampler(sampling)
        self._seeds = [_seed(variant, sampling) for variant in variants]
        self._context = context_before(prompts) if self._sampler.penalises else None
        self._steps = 0
        self._cache: list[Any] = []
        self._read(prompts)

    def _read(self, prompts: Sequence[Prompt]) -> None:
        """Put all but the last token of the prompts, sorted by length, into the cache."""
        begin = 0
        for length, group in itertools.groupby(prompts, key=len):
            ids = mx.array(list(group))
            self._rows.show(slice(begin, begin + len(ids)))
            begin += len(ids)
            cache = [layer.merge([layer] * len(ids)) for layer in make_prompt_cache(self._model)]
            for start in range(0, length - 1, PREFILL_TOKENS):
                self._model(ids[:, start : min(start + PREFILL_TOKENS, length - 1)], cache=cache)
                mx.eval([layer.state for layer in cache])
            for layer, more in zip(self._cache, cache, strict=bool(self._cache)):
                layer.extend(more)
            self._cache = self._cache or cache
        self._rows.show(slice(None))

    def step(self, tokens: mx.array) -> Step:
        """Begin to compute the tokens after these [B], and their log-probabilities [B]."""
        logits = self._model(tokens[:, None], cache=self._cache)[:, -1]
        if self._context is not None:
            self._context = mx.concatenate([self._context[:, 1:], tokens[:, None]], axis=1)
            logits = self._sampler.penalise(logits, self._context)
        logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        chosen = self._sampler.choose(logprobs, self._seeds, self._steps)
        self._steps += 1
        found = chosen, mx.take_along_axis(logprobs, chosen[:, None], axis=1)[:, 0]
        mx.async_eval(*found)  # type: ignore[no-untyped-call]
        return found

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all other rows."""
        self._rows.keep(rows)
        chosen = mx.array(list(rows))
        for layer in self._cache:
            layer.filter(chosen)
        self._seeds = [self._seeds[row] for row in rows]
        if self._context is not None:
            self._context = self._context[chosen]
