"""A loaded model as lm-eval asks models: log-likelihoods of continuations, of whole texts, answers up to a stop. Knows no tasks.

Tokens are cut as lm-eval's own class for transformers cuts them, so the figures can be compared: context and continuation are written
together and split by the context's length, the beginning token stands once, what is too long loses its beginning. Differences: the rest of
a batch never reaches an answer (padding stands on the right and is not looked at), an input that several choices share is read once, and an
answer ends at its stop string instead of being cut there afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from jinja2 import TemplateError
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from tunesmith.errors import UserError
from tunesmith.inference.batch_generation import Question, generate_each
from tunesmith.inference.sampling import Sampling
from tunesmith.inference.token_sampler import TokenSampler
from tunesmith.system.progress import Progress, silent

logger = logging.getLogger("tunesmith.benchmark")
BATCH_TOKENS = 8192
LOGITS_BYTES = 1 << 30  # of one batch, in float32
MOST_ROWS = 64
DEFAULT_ANSWER_TOKENS = 256  # lm-eval's own
LENGTH_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
Scored = tuple[float, bool]  # the sum of log-probabilities (nats), and whether the likeliest tokens are the continuation's
Pair = tuple[list[int], list[int]]  # context and continuation


class BenchmarkModel(TemplateLM):  # type: ignore[misc]
    """`template` is the prompt format instead of the tokenizer's own; `longest` bounds an input in tokens.

    `truncated` counts the inputs that lost their beginning.
    """

    def __init__(
        self, model: Any, tokenizer: Any, template: str | None = None, longest: int = 2048, seed: int = 0, report: Progress = silent
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.tokenizer, self.template, self.max_length = model, tokenizer, template, longest
        self.seed, self.report, self.truncated = seed, report, 0

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without context: the beginning token, else the end token."""
        begin = self.tokenizer.bos_token_id
        return int(begin) if begin is not None else self.eot_token_id

    @property
    def tokenizer_name(self) -> str:
        """A name for lm-eval's caches."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the prompt format."""
        return (self.template or self.tokenizer.chat_template) if chat_template else None

    def apply_chat_template(self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """Return a conversation as text; without a prompt for an answer, the last message is left open to be gone on with.

        Raises UserError `model_without_chat_template`, `template_broken`.
        """
        if not (self.template or self.tokenizer.chat_template):
            raise UserError("model_without_chat_template")
        options = {"chat_template": self.template} if self.template else {}
        try:
            text: str = self.tokenizer.apply_chat_template(
                [dict(message) for message in chat_history], tokenize=False, add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt, **options,
            )  # fmt: skip
        except TemplateError as error:
            raise UserError("template_broken", line=getattr(error, "lineno", None) or 1, reason=str(error)[:200]) from error
        return text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return a text's ids; a beginning token that the text already has is not written twice."""
        if add_special_tokens is None:
            begin = self.tokenizer.bos_token
            add_special_tokens = not (begin and string.startswith(begin))
        return [int(token) for token in self.tokenizer.encode(string, add_special_tokens=add_special_tokens)]

    def _loglikelihood_tokens(self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any) -> list[Scored]:
        return self._score([(context, continuation) for _, context, continuation in requests])

    def loglikelihood_rolling(self, requests: Sequence[Any], **_: Any) -> list[float]:
        """Return each text's log-likelihood in windows of the longest input: every token counts once, with all the room before it."""
        pairs: list[Pair] = []
        counts = []
        for request in requests:
            ids = self.tok_encode(request.args[0])
            windows = map(make_disjoint_window, get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, 1))
            found = [(list(context), list(continuation)) for context, continuation in windows]
            pairs += found
            counts.append(len(found))
        scores = iter(self._score(pairs))
        return [sum(next(scores)[0] for _ in range(count)) for count in counts]

    def _score(self, pairs: Sequence[Pair]) -> list[Scored]:
        """Return the scores of pairs; those that need the same input are read from it once."""
        places: dict[tuple[int, ...], list[int]] = {}
        for number, (context, continuation) in enumerate(pairs):
            self.truncated += len(context) + len(continuation) > self.max_length + 1
            places.setdefault(tuple((context + continuation)[-(self.max_length + 1) : -1]), []).append(number)
        inputs = sorted(places, key=lambda ids: (-len(ids), ids))
        found: list[Scored] = [(0.0, False)] * len(pairs)
        done = 0
        for batch in _batches(inputs, min(BATCH_TOKENS, LOGITS_BYTES // (4 * self.tokenizer.vocab_size))):
            wanted = [(row, pairs[number][1][-len(ids) :], number) for row, ids in enumerate(batch) for number in places[ids]]
            for (_, _, number), score in zip(wanted, self._score_batch(batch, wanted), strict=True):
                found[number] = score
            done += len(wanted)
            self.report(done / len(pairs))
        return found

    def _score_batch(self, inputs: Sequence[tuple[int, ...]], wanted: Sequence[tuple[int, list[int], int]]) -> list[Scored]:
        """Return the scores of the continuations `wanted`, each the end of what follows its input's row."""
        width = len(inputs[0])  # the longest stands first
        ids = np.zeros((len(inputs), width), np.int32)
        for row, each in enumerate(inputs):
            ids[row, : len(each)] = each
        rows = np.concatenate([np.full(len(tokens), row) for row, tokens, _ in wanted])
        columns = np.concatenate([np.arange(len(inputs[row]) - len(tokens), len(inputs[row])) for row, tokens, _ in wanted])
        targets = mx.array(np.concatenate([tokens for _, tokens, _ in wanted]).astype(np.int32))
        logits = self.model(mx.array(ids))[mx.array(rows), mx.array(columns)].astype(mx.float32)
        logprobs = mx.take_along_axis(nn.log_softmax(logits), targets[:, None], axis=-1)[:, 0]
        likeliest = mx.argmax(logits, axis=-1) == targets
        mx.eval(logprobs, likeliest)
        ends = np.cumsum([len(tokens) for _, tokens, _ in wanted])[:-1]
        sums = [float(part.sum(dtype=np.float64)) for part in np.split(np.array(logprobs), ends)]
        return list(zip(sums, (bool(part.all()) for part in np.split(np.array(likeliest), ends)), strict=True))

    def generate_until(self, requests: Sequence[Any], **_: Any) -> list[str]:
        """Return the answers, each up to its first stop string; greedy unless the task samples.

        Raises UserError `task_answer_too_long`.
        """
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items())), []).append(number)
        texts, done = [""] * len(requests), 0
        for numbers in groups.values():
            options = dict(requests[numbers[0]].args[1])
            for number, text in self._answer([requests[number].args[0] for number in numbers], options):
                texts[numbers[number]] = text
                done += 1
                self.report(done / len(requests))
        return texts

    def _answer(self, contexts: Sequence[str], options: dict[str, Any]) -> Any:
        """Yield (a context's place, its answer)."""
        until = options.pop("until", None) or []
        stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
        sampling = _sampling(options, self.seed)
        room = self.max_length - sampling.max_tokens
        if room <= 0:
            raise UserError("task_answer_too_long", tokens=sampling.max_tokens, longest=self.max_length)
        written = [self.tok_encode(context) for context in contexts]
        self.truncated += sum(len(ids) > room for ids in written)
        order = sorted(range(len(written)), key=lambda number: len(written[number]))
        questions = [Question(written[number][-room:], self.seed + number) for number in order]
        ends = frozenset(self.tokenizer.eos_token_ids)
        at_once = max(1, min(MOST_ROWS, BATCH_TOKENS // (min(room, len(written[order[-1]])) + sampling.max_tokens)))
        for place, answer in generate_each(self.model, questions, TokenSampler(sampling), at_once, ends, is_over=self._watch(stops)):
            text = self.tokenizer.decode([token for token in answer.ids if token not in ends], skip_special_tokens=True)
            yield order[place], _before(text, stops)

    def _watch(self, stops: Sequence[str]) -> Any:
        """Return what says whether an answer's ids hold a stop string; looks at its last tokens only."""
        if not stops:
            return None
        longest = max(len(stop.encode()) for stop in stops) + 1  # a token has at least one byte

        def is_over(ids: Sequence[int]) -> bool:
            end = self.tokenizer.decode(list(ids[-longest:]))  # a stop may be a special token, as `<|im_end|>` often is
            return any(stop in end for stop in stops)

        return is_over


def _sampling(options: dict[str, Any], seed: int) -> Sampling:
    lengths = [options.pop(name, None) for name in LENGTH_NAMES]
    tokens = next((length for length in lengths if length is not None), DEFAULT_ANSWER_TOKENS)
    samples, temperature = options.pop("do_sample", None), float(options.pop("temperature", 0.0) or 0.0)
    known = {name: options.pop(name) for name in ("top_p", "top_k", "min_p") if name in options}
    if options:
        logger.warning("settings of answers that are not known here: %s", ", ".join(sorted(options)))
    if samples is False or not temperature:
        return Sampling(max_tokens=int(tokens), seed=seed)
    return Sampling(temperature=temperature, max_tokens=int(tokens), seed=seed, **known)


def _before(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.split(stop)[0]
    return text


def _batches(inputs: Sequence[tuple[int, ...]], most_tokens: int) -> list[list[tuple[int, ...]]]:
    """Return the inputs, the longest first, in batches of at most so many tokens with their padding, or of one input."""
    batches: list[list[tuple[int, ...]]] = []
    for ids in inputs:
        if batches and len(batches[-1]) < MOST_ROWS and (len(batches[-1]) + 1) * len(batches[-1][0]) <= most_tokens:
            batches[-1].append(ids)
        else:
            batches.append([ids])
    return batches
