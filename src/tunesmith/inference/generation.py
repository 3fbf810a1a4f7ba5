"""Answers of loaded models, token by token; several variants of one base take turns. Knows no processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generate_step

from tunesmith.data.formats import Message
from tunesmith.data.templates import render
from tunesmith.inference.protocol import Delta
from tunesmith.inference.sampling import Sampling
from tunesmith.inference.token_sampler import TokenSampler

Activate = Callable[[], None]


class AnswerStream:
    """One variant's answer as it grows: its text, its times, and how it ended (`finish`, empty before)."""

    def __init__(self, variant: int, tokenizer: Any, max_tokens: int) -> None:
        self.variant, self.finish = variant, ""
        self._detokenizer, self._ends, self._max_tokens = tokenizer.detokenizer, frozenset(tokenizer.eos_token_ids), max_tokens
        self._began, self._tokens = time.perf_counter(), 0
        self._first_token_seconds: float | None = None

    def take(self, token: int, logprob: float) -> Delta:
        """Return what a token adds to the answer."""
        seconds = time.perf_counter() - self._began
        if self._first_token_seconds is None:
            self._first_token_seconds = seconds
        self._tokens += 1
        known = math.isfinite(logprob)
        if not known:
            self.finish = "not_finite"
        elif token in self._ends:
            self.finish = "stop"
        else:
            self._detokenizer.add_token(token)
            if self._tokens >= self._max_tokens:
                self.finish = "length"
        if self.finish:
            self._detokenizer.finalize()
        text = self._detokenizer.last_segment
        return Delta(self.variant, text, token, self._tokens, seconds, self._first_token_seconds, self.finish, logprob if known else None)


def generate_text(model: Any, tokenizer: Any, messages: Sequence[Message], max_tokens: int, template: str | None = None) -> str:
    """Return the greedy answer to a conversation."""
    deltas = generate_side_by_side(model, tokenizer, messages, Sampling(max_tokens=max_tokens), [lambda: None], [template])
    return "".join(delta.text for delta in deltas).strip()


def generate_side_by_side(
    model: Any, tokenizer: Any, messages: Sequence[Message], sampling: Sampling, variants: Sequence[Activate],
    templates: Sequence[str | None] = (), seeds: Sequence[int] = (),
) -> Iterator[Delta]:  # fmt: skip
    """Yield the variants' answers, one token each in turn. A variant's `activate` puts its adapter into the shared model.

    `templates` are the prompt formats that the variants learned, None for the tokenizer's own; `seeds` go before the sampling's.
    """
    prompts = [render(tokenizer, messages, answer_next=True, template=template) for template in templates or [None] * len(variants)]
    yield from answer_in_turns(model, tokenizer, prompts, sampling, variants, seeds or [sampling.seed] * len(variants))


def answer_in_turns(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], sampling: Sampling, variants: Sequence[Activate], seeds: Sequence[int]
) -> Iterator[Delta]:
    """Yield the variants' answers to their own prompts, one token each in turn."""
    sampler = TokenSampler(sampling)
    streams = []
    for number, activate in enumerate(variants):
        steps = _open_steps(model, mx.array(prompts[number]), sampler, seeds[number])
        streams.append((AnswerStream(number, tokenizer, sampling.max_tokens), activate, steps))
    while streams:
        for stream, activate, steps in streams:
            activate()
            token, logprobs = next(steps)
            yield stream.take(token, logprobs[token].item())
        streams = [turn for turn in streams if not turn[0].finish]


def _open_steps(model: Any, prompt: mx.array, sampler: TokenSampler, seed: int) -> Iterator[tuple[Any, Any]]:
    steps: Iterator[tuple[Any, Any]] = generate_step(
        prompt, model, max_tokens=sampler.sampling.max_tokens, sampler=sampler.for_row(seed), logits_processors=sampler.processors()
    )
    return steps
