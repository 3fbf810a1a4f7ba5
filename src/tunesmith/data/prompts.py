"""Rows to prompts that a policy answers: token ids up to where the answer begins, and all columns for the rewards. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.encoding import read_usable
from tunesmith.data.formats import Row, as_prompt, row_answer
from tunesmith.data.library import name_of
from tunesmith.data.templates import Tokenizer, render
from tunesmith.errors import UserError


@dataclass(frozen=True)
class PromptRules:
    """How rows become prompts; a prompt may have `longest` tokens, the names are the training settings'."""

    longest: int
    validation_share: float
    seed: int
    system: str = ""
    template: str | None = None


@dataclass(frozen=True)
class Prompt:
    """What the model is asked: its ids, the question as a person reads it, and the row's columns, with `answer` where there is one."""

    ids: list[int]
    text: str
    columns: dict[str, Any]


@dataclass(frozen=True)
class Prompts:
    """What a policy learns from and is measured on; of the source rows, `unusable` and `overlong` (left out) are counts."""

    train: list[Prompt]
    valid: list[Prompt]
    valid_source: list[Row]
    unusable: int
    overlong: int
    lengths: list[int]


def read_prompts(path: Path, kinds: Sequence[str], tokenizer: Tokenizer, rules: PromptRules) -> Prompts:
    """Read, check, split and write the prompts by the chat template.

    Raises UserError `dataset_without_train`, `data_no_usable_rows`, `prompts_too_long`, `data_…`, `template_…`.
    """
    train, valid, problems = read_usable(path, kinds, rules.validation_share, rules.seed)
    written = [[make_prompt(row.value, tokenizer, rules) for row in rows] for rows in (train, valid)]
    kept = [[prompt for prompt in prompts if len(prompt.ids) <= rules.longest] for prompts in written]
    if not kept[0]:
        raise UserError("prompts_too_long", dataset=name_of(path), rows=len(train), longest=rules.longest)
    lengths = [len(prompt.ids) for prompt in written[0]]
    return Prompts(kept[0], kept[1], valid, len({p.line for p in problems}), len(lengths) - len(kept[0]), lengths)


def make_prompt(value: dict[str, Any], tokenizer: Tokenizer, rules: PromptRules) -> Prompt:
    """Return a checked row as a prompt. Raises UserError `model_without_chat_template`, `template_broken`."""
    messages = as_prompt(value, rules.system)
    answer = row_answer(value)
    columns = value if answer is None else {**value, "answer": answer}
    ids = render(tokenizer, messages, answer_next=True, template=rules.template)
    return Prompt(ids, str(messages[-1]["content"]) if messages else "", columns)
