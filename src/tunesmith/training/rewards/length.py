"""Rewards for the length of an answer, and penalties for what goes on and on. Knows texts, no models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.data.answers import split_words
from tunesmith.settings.fields import setting
from tunesmith.training.rewards.spec import Completion


@dataclass(frozen=True)
class TargetLength:
    """1 at a wished length, falling in a line to 0 at none and at twice the length."""

    tokens: int = setting(100, minimum=1, maximum=32768, unit="tokens", label="Length", help="The wished length of an answer.")

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return a share in 0..1."""
        del row
        return max(0.0, 1 - abs(completion.tokens - self.tokens) / self.tokens)


@dataclass(frozen=True)
class SoftOverlong:
    """0 up to a length, falling in a line to −1 at the longest length allowed (DAPO's soft overlong punishment, eq. 13)."""

    longest: int = setting(
        256, minimum=1, maximum=131072, unit="tokens", label="Longest answer",
        help="From here on the punishment is −1; a run's own longest answer suits.",
    )  # fmt: skip
    buffer: int = setting(
        64, minimum=1, maximum=131072, unit="tokens", label="Buffer",
        help="How many tokens before the longest answer the punishment begins. DAPO takes a fifth.",
    )  # fmt: skip

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return a number in −1..0; a cut answer is longer than any."""
        del row
        if completion.truncated:
            return -1.0
        buffer = min(self.buffer, self.longest)
        over = completion.tokens - (self.longest - buffer)
        return 0.0 - min(1.0, max(0.0, over / buffer))


@dataclass(frozen=True)
class Repetition:
    """Minus the share of word groups that were there before: 0 without repetition, towards −1 when all is repeated."""

    words: int = setting(3, minimum=1, maximum=20, unit="words", label="Group", help="How many words in a row are compared.")

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return a number in −1..0 (open-r1's repetition penalty)."""
        del row
        words = split_words(completion.text)
        groups = [tuple(words[i : i + self.words]) for i in range(len(words) - self.words + 1)]
        return len(set(groups)) / len(groups) - 1 if groups else 0.0
