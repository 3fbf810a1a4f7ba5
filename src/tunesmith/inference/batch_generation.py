"""Many answers in one continuous batch, mlx-lm's BatchGenerator behind one seam. Knows token ids, no texts and no rewards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.generate import BatchGenerator
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.sample_utils import make_sampler

PREFILL_TOKENS = 2048
REFILL_PARTS = 4  # rows enter a batch when a quarter of it is free: each entry copies the whole cache


@dataclass(frozen=True)
class Drawing:
    """How tokens are drawn, under mlx-lm's names; at most `rows` answers are written at once."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    rows: int = 256


@dataclass(frozen=True)
class Written:
    """An answer's token ids, its stop token among them, and whether it was cut at the longest length."""

    ids: list[int]
    truncated: bool


@dataclass(frozen=True)
class Question:
    """A prompt's token ids and what draws its answer, None for the likeliest token."""

    ids: Sequence[int]
    sampler: Callable[[mx.array], mx.array] | None = None


class Abandoned(Exception):
    """Raised between two tokens when the caller no longer wants the answers."""


def generate_groups(
    model: Any, prompts: Sequence[Sequence[int]], group_size: int, stop_tokens: Sequence[int], drawing: Drawing,
    abandoned: Callable[[], bool] = lambda: False,
) -> list[list[Written]]:  # fmt: skip
    """Return `group_size` answers to each prompt. A group's prompt goes through the model once; its cache is copied.

    With the same weights, `mx.random.seed` before the call decides everything. Raises Abandoned within one token of the wish.
    """
    generator = BatchGenerator(
        model, stop_tokens=[[token] for token in stop_tokens], completion_batch_size=drawing.rows, prefill_batch_size=drawing.rows,
        sampler=make_sampler(drawing.temperature, top_p=drawing.top_p if drawing.top_p < 1 else 0.0, top_k=drawing.top_k),
    )  # fmt: skip
    try:
        ids = [_insert(generator, model, prompt, group_size, drawing.max_tokens) for prompt in prompts]
        tokens: dict[int, list[int]] = {number: [] for group in ids for number in group}
        ends: dict[int, str] = {}
        while step := generator.next_generated():
            for answer in step:
                tokens[answer.uid].append(answer.token)
                if answer.finish_reason:
                    ends[answer.uid] = answer.finish_reason
            if abandoned():
                raise Abandoned
    finally:
        generator.close()
    return [[Written(tokens[number], ends[number] == "length") for number in group] for group in ids]


def generate_each(
    model: Any, questions: Sequence[Question], max_tokens: int, rows: int, stop_tokens: Sequence[int], processors: Sequence[Any] = (),
    abandoned: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Written]]:  # fmt: skip
    """Yield (a question's place, its answer) as answers end, at most `rows` in work at once; `processors` change logits as mlx-lm's do.

    Questions sorted by length are padded least. Raises Abandoned within one token of the wish.
    """
    generator = BatchGenerator(
        model, stop_tokens=[[token] for token in stop_tokens], completion_batch_size=rows,
        prefill_batch_size=rows,
        logits_processors=list(processors),
    )  # fmt: skip
    waiting = deque(enumerate(questions))
    open_answers: dict[int, tuple[int, list[int]]] = {}
    try:
        while waiting or open_answers:
            if waiting and len(open_answers) <= rows - max(1, rows // REFILL_PARTS):
                places, some = zip(*(waiting.popleft() for _ in range(min(len(waiting), rows - len(open_answers)))), strict=True)
                numbers = generator.insert([list(q.ids) for q in some], [max_tokens] * len(some), samplers=[q.sampler for q in some])
                open_answers |= {number: (place, []) for number, place in zip(numbers, places, strict=True)}
            for answer in generator.next_generated():
                open_answers[answer.uid][1].append(answer.token)
                if answer.finish_reason:
                    place, ids = open_answers.pop(answer.uid)
                    yield place, Written(ids, answer.finish_reason == "length")
            if abandoned():
                raise Abandoned
    finally:
        generator.close()


def _insert(generator: Any, model: Any, prompt: Sequence[int], group_size: int, max_tokens: int) -> list[int]:
    limits = [max_tokens] * group_size
    if group_size == 1 or len(prompt) == 1:
        numbers: list[int] = generator.insert([list(prompt)] * group_size, limits)
        return numbers
    cache = make_prompt_cache(model)
    begin = mx.array(list(prompt[:-1]))[None]
    with mx.stream(generator.stream):
        for start in range(0, begin.shape[1], PREFILL_TOKENS):
            model(begin[:, start : start + PREFILL_TOKENS], cache=cache)
            mx.eval([layer.state for layer in cache])
    numbers = generator.insert([[prompt[-1]]] * group_size, limits, caches=[cache] * group_size)
    return numbers
