"""Many answers in one continuous batch: groups of a prompt by mlx-lm's BatchGenerator, answers of many prompts by our own rows.

Knows token ids, no texts and no rewards.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.generate import BatchGenerator, wired_limit
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.sample_utils import make_sampler

from tunesmith.inference.row_batch import PREFILL_TOKENS, RowBatch
from tunesmith.inference.token_sampler import TokenSampler

REFILL_PARTS = 4  # rows enter a batch when a quarter of it is free: each entry copies the whole cache
LEAVING_PARTS = 8  # rows that ended leave it when they are an eighth of it
STEPS_BETWEEN_CLEARING = 256  # as mlx-lm's


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
    """A prompt's token ids, and the seed of its answer where answers are drawn."""

    ids: Sequence[int]
    seed: int = 0


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
    model: Any, questions: Sequence[Question], sampler: TokenSampler, rows: int, stop_tokens: Collection[int],
    abandoned: Callable[[], bool] = lambda: False, is_over: Callable[[Sequence[int]], bool] | None = None,
) -> Iterator[tuple[int, Written]]:  # fmt: skip
    """Yield (a question's place, its answer) as answers end, at most `rows` in work at once; questions are sorted by length.

    `is_over` is given an answer's ids so far and may end it. Raises Abandoned within one token of the wish.
    """
    with wired_limit(model):
        yield from _Continuous(model, questions, sampler, rows, frozenset(stop_tokens), is_over).run(abandoned)


class _Continuous:
    """Rows that enter a batch together when a part of it is free, and leave it together when a part of it has ended."""

    def __init__(
        self, model: Any, questions: Sequence[Question], sampler: TokenSampler, rows: int, stops: frozenset[int],
        is_over: Callable[[Sequence[int]], bool] | None,
    ) -> None:  # fmt: skip
        self._model, self._sampler, self._rows, self._stops, self._is_over = model, sampler, rows, stops, is_over
        self._batch = RowBatch(model, sampler)
        self._waiting = deque(enumerate(questions))
        self._longest = sampler.sampling.max_tokens
        self._answers: list[tuple[int, list[int]] | None] = []  # None: the row has ended
        self._tokens: mx.array | None = None  # what comes next [B], already being computed

    def run(self, abandoned: Callable[[], bool]) -> Iterator[tuple[int, Written]]:
        """Write all answers."""
        for step in itertools.count(1):
            self._make_room()
            if self._tokens is None:
                return
            tokens, self._tokens = self._tokens, self._batch.step(self._tokens)[0]  # computed while this one is looked at
            told: Any = tokens.tolist()
            for row, token in enumerate(told):
                answer = self._answers[row]
                if answer and (written := self._take(answer[1], token)):
                    self._answers[row] = None
                    yield answer[0], written
            if abandoned():
                raise Abandoned
            if step % STEPS_BETWEEN_CLEARING == 0:
                mx.clear_cache()

    def _take(self, ids: list[int], token: int) -> Written | None:
        """Add a token to an answer; return the answer when it ends."""
        ids.append(token)
        if token in self._stops or (self._is_over is not None and self._is_over(ids)):
            return Written(ids, truncated=False)
        return Written(ids, truncated=True) if len(ids) >= self._longest else None

    def _make_room(self) -> None:
        """Let ended rows go and new ones in, when they are many enough to be worth a copy of the cache."""
        going = [row for row, answer in enumerate(self._answers) if answer]
        ended = len(self._answers) - len(going)
        enter = bool(self._waiting) and len(going) <= self._rows - max(1, self._rows // REFILL_PARTS)
        if ended and (enter or not going or ended >= len(self._answers) / LEAVING_PARTS):
            self._batch.keep(going)
            self._answers = [self._answers[row] for row in going]
            self._tokens = self._tokens[mx.array(going)] if going and self._tokens is not None else None
        if enter:
            self._enter([self._waiting.popleft() for _ in range(min(len(self._waiting), self._rows - len(going)))])

    def _enter(self, some: Sequence[tuple[int, Question]]) -> None:
        fresh = RowBatch(self._model, self._sampler)
        fresh.read([question.ids for _, question in some], [question.seed for _, question in some])
        first, _ = fresh.step(mx.array([question.ids[-1] for _, question in some]))
        self._batch.extend(fresh)
        self._answers += [(place, []) for place, _ in some]
        self._tokens = first if self._tokens is None else mx.concatenate([self._tokens, first])


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
