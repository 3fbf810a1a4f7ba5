"""A data set's files to encoded training and validation rows, everything left out or cut counted. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.data.formats import Problem, ReadResult, Row
from tunesmith.data.library import name_of
from tunesmith.data.row_files import read_splits
from tunesmith.data.split import split_rows
from tunesmith.data.templates import Encoded, Tokenizer, encode_row
from tunesmith.data.validation import usable_rows
from tunesmith.errors import UserError


@dataclass(frozen=True)
class EncodingRules:
    """How rows become tokens; the names are the training settings'."""

    max_seq_length: int
    loss_on: str
    overlong: str
    validation_share: float
    seed: int
    template: str | None = None


@dataclass(frozen=True)
class EncodedRows:
    """What a run learns from and is measured on; of the source rows, `unusable`, `without_labels`, `overlong` and `endless` (their
    end-of-text token is not learned, by the template and not by a cut) are counts.

    `lengths` are the training rows' as they were read, before anything was cut.
    """

    train: list[Encoded]
    valid: list[Encoded]
    valid_source: list[Row]
    unusable: int
    without_labels: int
    overlong: int
    endless: int
    lengths: list[int]

    @property
    def longest_tokens(self) -> int:
        """The longest training row as it was read, in tokens."""
        return max(self.lengths)

    @property
    def tokens(self) -> int:
        """Tokens of one epoch."""
        return sum(len(row.ids) for row in self.train)

    @property
    def supervised_tokens(self) -> int:
        """Tokens of one epoch that the loss counts."""
        return sum(sum(row.supervised) for row in self.train)


def encode_dataset(path: Path, kinds: Sequence[str], tokenizer: Tokenizer, rules: EncodingRules) -> EncodedRows:
    """Read, check, split and encode.

    Raises UserError `dataset_without_train`, `data_no_usable_rows`, `data_nothing_to_learn`, `data_…`.
    """
    train, valid, problems = read_usable(path, kinds, rules.validation_share, rules.seed)
    whole = [[encode_row(row.value, tokenizer, rules.loss_on, rules.template) for row in rows] for rows in (train, valid)]
    kept = [_fit(rows, rules) for rows in whole]
    learnable = [[row for row in rows if any(row.supervised[1:])] for rows in kept]
    if not learnable[0]:
        raise UserError("data_nothing_to_learn", dataset=name_of(path), rows=len(train), longest=rules.max_seq_length)
    return EncodedRows(
        train=learnable[0], valid=learnable[1], valid_source=valid, unusable=len({p.line for p in problems}),
        without_labels=len(kept[0]) - len(learnable[0]), overlong=sum(len(row.ids) > rules.max_seq_length for row in whole[0]),
        lengths=[len(row.ids) for row in whole[0]], endless=sum(not row.learns_to_end(tokenizer.eos_token_id) for row in whole[0]),
    )  # fmt: skip


def read_usable(path: Path, kinds: Sequence[str], validation_share: float, seed: int) -> tuple[list[Row], list[Row], list[Problem]]:
    """Return training rows, validation rows (the set's own, else a share kept aside), and why others are left out.

    Raises UserError `dataset_without_train`, `data_no_usable_rows`.
    """
    splits = read_splits(path, ("train", "valid"))
    if "train" not in splits:
        raise UserError("dataset_without_train", dataset=name_of(path))
    train, problems = _usable(splits["train"], kinds, name_of(path))
    if "valid" in splits:
        valid, more = _usable(splits["valid"], kinds, name_of(path))
        return train, valid, problems + more
    return *split_rows(train, validation_share, seed), problems


def _fit(rows: Sequence[Encoded], rules: EncodingRules) -> list[Encoded]:
    """Return rows of at most the maximum length: longer ones are cut, dropped or split."""
    longest = rules.max_seq_length
    if rules.overlong == "drop":
        return [row for row in rows if len(row.ids) <= longest]
    if rules.overlong == "split":
        return [piece for row in rows for piece in row.split(longest)]
    return [row.cut(longest) for row in rows]


def _usable(read: ReadResult, kinds: Sequence[str], file: str) -> tuple[list[Row], list[Problem]]:
    rows, problems = usable_rows(read.rows, kinds)
    problems = sorted([*read.problems, *problems], key=lambda p: p.line)
    if not rows:
        first = problems[0]
        raise UserError("data_no_usable_rows", file=file, rows=len(problems), first_line=first.line, first_code=first.code)
    return rows, problems
