"""Completions that no reward may like: what a model learns to write when a reward can be fooled. Knows texts and rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.training.rewards.spec import Completion

LONG_WORDS = 2000
WORD_TOKENS = 1.4


@dataclass(frozen=True)
class JunkScore:
    """How a kind of junk was rewarded on average, and what the row's own answer, or the best completion, got."""

    kind: str
    reward: float
    best: float

    @property
    def is_fooled(self) -> bool:
        """Whether junk earns at least half of what a good answer earns, and anything at all."""
        return self.reward > 0 and self.reward >= 0.5 * self.best


def junk_for(prompt: str, texts: Sequence[str]) -> dict[str, Completion]:
    """Return junk of every kind for a prompt: nothing, the prompt itself, one word over and over, words without end."""
    words = " ".join([*texts, prompt]).split() or ["word"]
    long = " ".join(words[i % len(words)] for i in range(LONG_WORDS))
    return {
        "empty": Completion(""),
        "echo": _completion(prompt),
        "repeated": _completion(" ".join([words[-1]] * 200)),
        "long": Completion(long, round(LONG_WORDS * WORD_TOKENS), truncated=True),
    }


def _completion(text: str) -> Completion:
    return Completion(text, round(len(text.split()) * WORD_TOKENS))
