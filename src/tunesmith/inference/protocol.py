"""What pages and the host process say to each other: JSON lines. Knows no mlx."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Delta:
    """A piece of one variant's answer; `seconds` since the question, `finish` is `stop` or `length` with the last piece."""

    variant: int
    text: str
    tokens: int
    seconds: float
    first_token_seconds: float | None
    finish: str


@dataclass(frozen=True)
class TokenReport:
    """A data set in a model's tokens; `tokens` and `supervised_tokens` are those of one epoch."""

    rows: int
    valid_rows: int
    tokens: int
    supervised_tokens: int
    longest_tokens: int
    cut_rows: int
    left_out_rows: int
