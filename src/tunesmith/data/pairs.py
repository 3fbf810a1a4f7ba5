"""Preference rows to encoded pairs: the same prompt with the better and with the worse answer. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.data.batching import BatchRules, Shape, group_pairs, plan_lines
from tunesmith.data.encoding import read_usable
from tunesmith.data.formats import Row
from tunesmith.data.library import name_of
from tunesmith.data.templates import Encoded, Tokenizer, encode_row
from tunesmith.errors import UserError


class Pair(NamedTuple):
    """Two encoded conversations that differ in their last answer; the loss counts that answer alone."""

    chosen: Encoded
    rejected: Encoded

    @property
    def tokens(self) -> int:
        """Tokens of both."""
        return len(self.chosen.ids) + len(self.rejected.ids)


@dataclass(frozen=True)
class Pairs:
    """What a run learns from and is measured on; of the source rows, `unusable` and `overlong` (left out) are counts."""

    train: list[Pair]
    valid: list[Pair]
    valid_source: list[Row]
    unusable: int
    overlong: int
    lengths: list[int]


@dataclass(frozen=True)
class PairRules:
    """How rows become pairs; the names are the training settings'."""

    max_seq_length: int
    validation_share: float
    seed: int
    template: str | None = None


def read_pairs(path: Path, kinds: Sequence[str], tokenizer: Tokenizer, rules: PairRules) -> Pairs:
    """Read, check, split and encode. A pair with an answer over the maximum length is left out: cut answers cannot be compared.

    Raises UserError `dataset_without_train`, `data_no_usable_rows`, `data_nothing_to_learn`, `data_…`.
    """
    train, valid, problems = read_usable(path, kinds, rules.validation_share, rules.seed)
    encoded = [[encode_pair(row.value, tokenizer, rules.template) for row in rows] for rows in (train, valid)]
    kept = [[pair for pair in pairs if _longest(pair) <= rules.max_seq_length and _learnable(pair)] for pairs in encoded]
    if not kept[0]:
        raise UserError("data_nothing_to_learn", dataset=name_of(path), rows=len(train), longest=rules.max_seq_length)
    lengths = [_longest(pair) for pair in encoded[0]]
    return Pairs(kept[0], kept[1], valid, len({p.line for p in problems}), sum(n > rules.max_seq_length for n in lengths), lengths)


def encode_pair(value: dict[str, Any], tokenizer: Tokenizer, template: str | None = None) -> Pair:
    """Return a checked preference row as tokens. Raises UserError `model_without_chat_template`, `template_broken`."""
    swapped = {**value, "chosen": value["rejected"]}
    return Pair(*(encode_row(each, tokenizer, "last_answer", template) for each in (value, swapped)))


def largest_pair_shape(pairs: Sequence[Pair], rules: BatchRules) -> Shape:
    """Return the largest pass of pairs, each batch taken in the order of the rows."""
    shapes = []
    for begin in range(0, len(pairs), rules.batch_size):
        batch = pairs[begin : begin + rules.batch_size]
        for members in group_pairs([pair.tokens for pair in batch], rules):
            rows = [row for i in members for row in batch[i]]
            lines, width = plan_lines([len(row.ids) - 1 for row in rows], rules)
            shapes.append(Shape(len(lines), width, sum(sum(row.supervised[1:]) for row in rows)))
    return max(shapes, key=lambda shape: (shape.lines * shape.width, shape.labels))


def _longest(pair: Pair) -> int:
    return max(len(pair.chosen.ids), len(pair.rejected.ids))


def _learnable(pair: Pair) -> bool:
    return any(pair.chosen.supervised[1:]) and any(pair.rejected.supervised[1:])
