"""A model's answers to the rows of a data set, in continuous batches, one line of a file each; goes on where it was ended.

Knows no scores. Several variants of one base answer one after the other: a batch is full with the rows of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.formats import Row, as_prompt, row_answer
from tunesmith.data.templates import render
from tunesmith.inference.batch_generation import Question, Written, generate_each
from tunesmith.inference.generation import Activate
from tunesmith.inference.sampling import Sampling
from tunesmith.inference.token_sampler import TokenSampler
from tunesmith.store.files import AppendLog, LineTail
from tunesmith.system.progress import Progress, silent

BUDGET_TOKENS = 16384
MOST_ROWS = 128
SEEDS = 2**31


@dataclass(frozen=True)
class Predictor:
    """A variant by the name that stands in the file: what puts its adapter into the model, and the prompt format that it learned."""

    name: str
    activate: Activate = lambda: None
    template: str | None = None
    system: str = ""


@dataclass(frozen=True)
class Predicted:
    """How many lines were written now, how many stood there before, how many rows ask nothing."""

    written: int
    earlier: int
    without_question: int


def predict(
    model: Any, tokenizer: Any, rows: Sequence[Row], sampling: Sampling, path: Path, predictors: Sequence[Predictor] = (Predictor(""),),
    budget_tokens: int = BUDGET_TOKENS, report: Progress = silent, abandoned: Callable[[], bool] = lambda: False,
) -> Predicted:  # fmt: skip
    """Append `{row, variant, text, tokens, finish, reference}` to a file for each checked row and variant that it has no line of yet.

    The file belongs to one question: same rows, sampling and variants. `budget_tokens` bounds the tokens in the cache, of prompts
    and longest answers together. A row's answer depends on its line, the seed and the weights, not on the rows beside it.
    Raises Abandoned within a token of the wish, UserError `disk_full`, `model_without_chat_template`, `template_broken`.
    """
    asked = [(row, prompt) for row in rows for prompt in [as_prompt(row.value)] if prompt]
    known = {(line["row"], line["variant"]) for line in LineTail(path).read_new()}
    earlier, total = len(known), len(asked) * len(predictors)
    log = AppendLog(path)
    try:
        for predictor in predictors:
            missing = [row for row, _ in asked if (row.line, predictor.name) not in known]
            predictor.activate()
            for row, answer in _answers(model, tokenizer, missing, predictor, sampling, budget_tokens, abandoned):
                known.add((row.line, predictor.name))
                log.append(_describe(tokenizer, row, predictor, answer))
                report(len(known) / total)
    finally:
        log.close()
    return Predicted(len(known) - earlier, earlier, len(rows) - len(asked))


def _answers(
    model: Any, tokenizer: Any, rows: Sequence[Row], predictor: Predictor, sampling: Sampling, budget_tokens: int,
    abandoned: Callable[[], bool],
) -> Iterator[tuple[Row, Written]]:  # fmt: skip
    """Yield the rows' answers; rows of like length go together, so that one long prompt narrows no other batch than its own."""
    by_width: dict[int, list[tuple[int, Row, Question]]] = {}
    for row in rows:
        ids = render(tokenizer, as_prompt(row.value, predictor.system), answer_next=True, template=predictor.template)
        width = max(len(ids), sampling.max_tokens)  # shorter prompts than the answers may be all go together
        by_width.setdefault((width - 1).bit_length(), []).append((len(ids), row, Question(ids, row_seed(sampling.seed, row.line))))
    groups: list[tuple[int, list[tuple[int, Row, Question]]]] = []
    for bits, group in sorted(by_width.items()):
        at_once = max(1, min(MOST_ROWS, budget_tokens // ((1 << bits) + sampling.max_tokens)))
        if groups and len(groups[-1][1]) + len(group) <= at_once:  # the shorter ones have room beside them
            group = groups.pop()[1] + group
        groups.append((at_once, sorted(group, key=lambda each: each[0])))
    for at_once, group in groups:
        questions = [question for _, _, question in group]
        for place, answer in generate_each(model, questions, TokenSampler(sampling), at_once, tokenizer.eos_token_ids, abandoned):
            yield group[place][1], answer


def row_seed(seed: int, line: int) -> int:
    """Return the seed of one row's answer."""
    return (seed * 1_000_003 + line) % SEEDS


def _describe(tokenizer: Any, row: Row, predictor: Predictor, answer: Written) -> dict[str, Any]:
    detokenizer = tokenizer.detokenizer  # as answers that are streamed: ids that the tokenizer does not know stay visible
    for token in answer.ids if answer.truncated else answer.ids[:-1]:
        detokenizer.add_token(token)
    detokenizer.finalize()
    return {
        "row": row.line, "variant": predictor.name, "text": detokenizer.text.strip(), "tokens": len(answer.ids),
        "finish": "length" if answer.truncated else "stop", "reference": row_answer(row.value),
    }  # fmt: skip
