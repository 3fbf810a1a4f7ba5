"""One question to a base and up to eight variants of it, answered from one copy of the base in one batch. Knows no processes.

The rows read their prompts together when these are equally long, else one length after the other, so nothing is ever padded but the
cache (on the left, masked). A batch multiplies matrices where an answer alone multiplies vectors, and padding moves the places that
a softmax sums: both change last bits of float32 (1e-6 of a logit), never the rule by which a token is chosen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from tunesmith.data.formats import Message
from tunesmith.data.templates import render
from tunesmith.errors import UserError
from tunesmith.inference.adapter_bank import Adapter, AdapterBank, scale_adapter
from tunesmith.inference.adapter_rows import AdapterRows, fit_one_batch
from tunesmith.inference.generation import AnswerStream, answer_in_turns
from tunesmith.inference.protocol import Delta
from tunesmith.inference.row_batch import RowBatch
from tunesmith.inference.sampling import Sampling
from tunesmith.inference.token_sampler import TokenSampler

MOST_VARIANTS = 9
STEPS_BETWEEN_CLEARING = 256  # as mlx-lm's
Prompt = list[int]


@dataclass(frozen=True)
class Variant:
    """Who answers: the base (no adapter), or an adapter of it, `strength` times as strong as it was made.

    `template` is the prompt format that it learned, None for the tokenizer's own; `seed` goes before the sampling's, `messages` before
    those that all are asked.
    """

    adapter: Adapter | None = None
    strength: float = 1.0
    template: str | None = None
    seed: int | None = None
    messages: Sequence[Message] = ()


def compare(bank: AdapterBank, variants: Sequence[Variant], messages: Sequence[Message], sampling: Sampling) -> Iterator[Delta]:
    """Yield the variants' answers as they grow; closing the iterator ends them within a token, and the base wears nothing again.

    An answer is the one that its variant gives alone. DoRA, full tuning and caches that know no batches take turns instead.
    Raises UserError `too_many_variants`, `adapter_strength_unsupported`, `model_without_chat_template`, `template_broken`.
    """
    if len(variants) > MOST_VARIANTS:
        raise UserError("too_many_variants", asked=len(variants), most=MOST_VARIANTS)
    prompts = write_prompts(bank.base.tokenizer, variants, messages)
    try:
        if fit_one_batch([variant.adapter for variant in variants]) and _can_batch(bank.base.model):
            yield from _answer_together(bank, variants, prompts, sampling)
        else:
            yield from _answer_in_turns(bank, variants, prompts, sampling)
    finally:
        bank.activate(None)


def write_prompts(tokenizer: Any, variants: Sequence[Variant], messages: Sequence[Message] = ()) -> list[Prompt]:
    """Return what each variant is given, as token ids. Raises UserError `model_without_chat_template`, `template_broken`."""
    return [render(tokenizer, variant.messages or messages, answer_next=True, template=variant.template) for variant in variants]


def _can_batch(model: Any) -> bool:
    return all(hasattr(layer, "merge") for layer in make_prompt_cache(model))


def _answer_in_turns(
    bank: AdapterBank, variants: Sequence[Variant], prompts: Sequence[Prompt], sampling: Sampling
) -> Iterator[Delta]:  # fmt: skip
    adapters = [_strengthened(variant, number) for number, variant in enumerate(variants)]
    activates = [lambda adapter=adapter: bank.activate(adapter) for adapter in adapters]
    seeds = [_seed(variant, sampling) for variant in variants]
    yield from answer_in_turns(bank.base.model, bank.base.tokenizer, prompts, sampling, activates, seeds)


def _strengthened(variant: Variant, number: int) -> Adapter | None:
    return variant.adapter and scale_adapter(variant.adapter, variant.strength, number + 1)


def _seed(variant: Variant, sampling: Sampling) -> int:
    return sampling.seed if variant.seed is None else variant.seed


def _answer_together(
    bank: AdapterBank, variants: Sequence[Variant], prompts: Sequence[Prompt], sampling: Sampling
) -> Iterator[Delta]:  # fmt: skip
    tokenizer = bank.base.tokenizer
    order = sorted(range(len(variants)), key=lambda number: len(prompts[number]))
    streams = [AnswerStream(number, tokenizer, sampling.max_tokens) for number in order]
    batch = _AdaptedRows(bank, [variants[number] for number in order], [prompts[number] for number in order], sampling)
    current = batch.step(mx.array([prompts[number][-1] for number in order]))
    for step in itertools.count(1):
        following = batch.step(current[0]) if step < sampling.max_tokens else current  # computed while the current ones are told
        tokens, logprobs = current
        told: Any = zip(streams, tokens.tolist(), logprobs.tolist(), strict=True)  # type: ignore[arg-type]
        for stream, token, logprob in told:
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


class _AdaptedRows(RowBatch):
    """Rows that wear an adapter each. Prompts are never padded: what is told of a variant is what it gives alone."""

    def __init__(self, bank: AdapterBank, variants: Sequence[Variant], prompts: Sequence[Prompt], sampling: Sampling) -> None:
        super().__init__(bank.base.model, TokenSampler(sampling), most_padding=1.0)
        self._adapters = AdapterRows(bank, [(variant.adapter, variant.strength) for variant in variants])
        self._read_rows = 0
        self.read(prompts, [_seed(variant, sampling) for variant in variants])
        self._adapters.show(slice(None))

    def _read_group(self, prompts: list[Prompt]) -> list[Any]:
        self._adapters.show(slice(self._read_rows, self._read_rows + len(prompts)))
        self._read_rows += len(prompts)
        return super()._read_group(prompts)

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all other rows and their adapters."""
        self._adapters.keep(rows)
        super().keep(rows)
