"""Answers of loaded models, token by token; several variants of one base take turns. Knows no processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generate_step
from mlx_lm.sample_utils import make_sampler

from tunesmith.data.formats import Message
from tunesmith.data.templates import render
from tunesmith.inference.protocol import Delta
from tunesmith.inference.sampling import Sampling

Activate = Callable[[], None]


@dataclass
class _Stream:
    variant: int
    activate: Activate
    steps: Iterator[tuple[Any, Any]]
    detokenizer: Any
    began: float
    tokens: int = 0
    first_token_seconds: float | None = None
    finish: str = ""


def generate_text(model: Any, tokenizer: Any, messages: Sequence[Message], max_tokens: int, template: str | None = None) -> str:
    """Return the greedy answer to a conversation."""
    deltas = generate_side_by_side(model, tokenizer, messages, Sampling(max_tokens=max_tokens), [lambda: None], [template])
    return "".join(delta.text for delta in deltas).strip()


def generate_side_by_side(
    model: Any, tokenizer: Any, messages: Sequence[Message], sampling: Sampling, variants: Sequence[Activate],
    templates: Sequence[str | None] = (),
) -> Iterator[Delta]:  # fmt: skip
    """Yield the variants' answers, one token each in turn. A variant's `activate` puts its adapter into the shared model.

    `templates` are the prompt formats that the variants learned, None for the tokenizer's own.
    """
    written = [mx.array(render(tokenizer, messages, answer_next=True, template=t)) for t in templates or [None] * len(variants)]
    streams = [_open_stream(model, tokenizer, written[n], sampling, n, activate) for n, activate in enumerate(variants)]
    while open_streams := [s for s in streams if not s.finish]:
        for stream in open_streams:
            stream.activate()
            yield _take_token(stream, tokenizer, sampling)


def _open_stream(model: Any, tokenizer: Any, prompt: mx.array, sampling: Sampling, variant: int, activate: Activate) -> _Stream:
    keys = iter(range(sampling.max_tokens + 2))
    draw = make_sampler(temp=sampling.temperature, top_p=sampling.top_p if sampling.top_p < 1 else 0.0)

    def seeded(logprobs: mx.array) -> mx.array:
        mx.random.seed(sampling.seed * 100_003 + next(keys))  # streams take turns, so each token has a seed of its own
        drawn: mx.array = draw(logprobs)
        return drawn

    steps = generate_step(prompt, model, max_tokens=sampling.max_tokens, sampler=seeded if sampling.temperature > 0 else draw)
    return _Stream(variant, activate, steps, tokenizer.detokenizer, time.perf_counter())


def _take_token(stream: _Stream, tokenizer: Any, sampling: Sampling) -> Delta:
    token, _ = next(stream.steps)
    seconds = time.perf_counter() - stream.began
    if stream.first_token_seconds is None:
        stream.first_token_seconds = seconds
    stream.tokens += 1
    if token in tokenizer.eos_token_ids:
        stream.finish = "stop"
    else:
        stream.detokenizer.add_token(token)
        if stream.tokens >= sampling.max_tokens:
            stream.finish = "length"
    if stream.finish:
        stream.detokenizer.finalize()
    return Delta(stream.variant, stream.detokenizer.last_segment, stream.tokens, seconds, stream.first_token_seconds, stream.finish)
