"""What pages and the host process say to each other: JSON lines. Knows no mlx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """Who answers what: the base (`adapter` None) or an adapter `strength` times as strong as it was made, each its own conversation.

    `seed` goes before the sampling's.
    """

    messages: Sequence[Mapping[str, str]]
    adapter: Path | None = None
    strength: float = 1.0
    seed: int | None = None


@dataclass(frozen=True)
class Sent:
    """The exact text that a variant was given, special tokens and all, and its length in tokens."""

    text: str
    tokens: int


@dataclass(frozen=True)
class Delta:
    """One token's piece of a variant's answer; `seconds` since the question. With the last piece `finish` is `stop`, `length`, or
    `not_finite` when what the model computed is no number.

    `token` is its id, `tokens` how many there are so far. `logprob` is the token's log-probability (nats) at temperature 1, penalties
    counted; None when it is no number.
    """

    variant: int
    text: str
    token: int
    tokens: int
    seconds: float
    first_token_seconds: float | None
    finish: str
    logprob: float | None = None


@dataclass(frozen=True)
class Sample:
    """One of several answers to a prompt: its length in tokens, and whether it was cut."""

    text: str
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class TokenView:
    """One token of a row: its text, its id, and whether it is `learned`, `context` or `cut` away."""

    text: str
    id: int
    state: str


@dataclass(frozen=True)
class TokenReport:
    """A data set in a model's tokens; `tokens` and `supervised_tokens` are those of one epoch, `lengths` the rows' before they are
    cut (thinned evenly above 5,000), `padding_…` shares of the computed tokens;

    `largest_batch` is (lines, width in tokens, supervised tokens) of the run's largest.
    """

    rows: int
    valid_rows: int
    tokens: int
    supervised_tokens: int
    longest_tokens: int
    overlong_rows: int
    unusable_rows: int
    endless_rows: int
    rows_without_labels: int
    steps: int
    lengths: Sequence[int]
    padding_packed: float
    padding_padded: float
    largest_batch: Sequence[int]
