"""Rewards for a right answer: exact, by number, by choice, by shared words. Knows rows and texts, no models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.data.agreement import choice_match, exact_match, numeric_match, word_f1
from tunesmith.data.answers import PLACES
from tunesmith.settings.fields import setting
from tunesmith.training.rewards.spec import Completion


@dataclass(frozen=True)
class ExactMatch:
    """1 when the final answer is the row's answer, letters and spaces aside."""

    place: str = setting(
        "auto", choices=PLACES, label="Where the answer stands",
        help="auto: in an <answer> tag, else in \\boxed{}, else behind ####, else the last line. whole: nothing but the answer.",
    )  # fmt: skip
    column: str = setting("answer", label="Column", help="The row's column with the right answer; of GSM8K-like ones, what follows ####.")

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1 or 0, None for a row without an answer."""
        return exact_match(completion.text, row.get(self.column), self.place)


@dataclass(frozen=True)
class Numeric:
    """1 when the last number of the final answer is the row's number."""

    place: str = setting(
        "auto", choices=PLACES, label="Where the answer stands", help="Where the number is looked for; the last one counts."
    )
    tolerance: float = setting(
        0.0, minimum=0.0, maximum=1.0, label="Tolerance",
        help="How far the number may be off, as a share of the right one (0.01: one hundredth). 0: exactly equal.",
    )  # fmt: skip
    column: str = setting("answer", label="Column", help="The row's column with the right number; of GSM8K-like ones, what follows ####.")

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1 or 0, None for a row without a number."""
        return numeric_match(completion.text, row.get(self.column), self.place, self.tolerance)


@dataclass(frozen=True)
class MultipleChoice:
    """1 when the chosen letter is the row's letter."""

    column: str = setting("answer", label="Column", help="The row's column with the right letter: B, (B) or “B) …”.")

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1 or 0, None for a row without a letter."""
        return choice_match(completion.text, row.get(self.column))


@dataclass(frozen=True)
class F1:
    """How many words the answer shares with the row's answer (SQuAD's F1); characters where words are not spaced."""

    column: str = setting("answer", label="Column", help="The row's column with the answer to compare with.")
    place: str = setting("whole", choices=PLACES, label="Where the answer stands", help="What part of the completion is compared.")

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return a share in 0..1, None for a row without an answer."""
        return word_f1(completion.text, row.get(self.column), self.place)
