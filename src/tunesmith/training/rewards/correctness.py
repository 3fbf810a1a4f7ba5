"""Rewards for a right answer: exact, by number, by choice, by shared words. Knows rows and texts, no models."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tunesmith.settings.fields import setting
from tunesmith.training.rewards.extraction import PLACES, final_answer, last_number, normalize_answer, reference_answer, usual_width
from tunesmith.training.rewards.spec import Completion

_MARKED_CHOICE = re.compile(r"(?<![A-Za-z])([A-Z])\)|^([A-Z])\.(?!\w)")
_PRONOUN = r"(?!(?<=I)\s+(?:am|think|believe|would|will|choose|chose|pick|select|say|guess|conclude|have|can)\b)"
_CHOICE = re.compile(rf"(?<![A-Za-z])([A-Z])(?![A-Za-z'’]){_PRONOUN}")
_UNSPACED = "\u3005\u3006\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


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
        wanted = reference_answer(row.get(self.column))
        if wanted is None:
            return None
        found = final_answer(completion.text, self.place)
        return float(found is not None and normalize_answer(found) == normalize_answer(wanted))


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
        wanted = last_number(reference_answer(row.get(self.column)) or "")
        if wanted is None:
            return None
        found = last_number(final_answer(completion.text, self.place) or "")
        return float(found is not None and abs(found - wanted) <= Fraction(str(self.tolerance)) * abs(wanted))


@dataclass(frozen=True)
class MultipleChoice:
    """1 when the chosen letter is the row's letter."""

    column: str = setting("answer", label="Column", help="The row's column with the right letter: B, (B) or “B) …”.")

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1 or 0, None for a row without a letter."""
        wanted = _letters(reference_answer(row.get(self.column)) or "")
        if not wanted:
            return None
        found = _letters(final_answer(completion.text) or "")
        return float(len(set(found)) == 1 and found[0] == wanted[0])


def _letters(text: str) -> list[str]:
    """Return the letters that a text names: those with a bracket behind them, as in (B) and B), else those that stand alone."""
    text = usual_width(text)
    marked = [first or second for first, second in _MARKED_CHOICE.findall(text)]
    return marked or _CHOICE.findall(text)


@dataclass(frozen=True)
class F1:
    """How many words the answer shares with the row's answer (SQuAD's F1); characters where words are not spaced."""

    column: str = setting("answer", label="Column", help="The row's column with the answer to compare with.")
    place: str = setting("whole", choices=PLACES, label="Where the answer stands", help="What part of the completion is compared.")

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return a share in 0..1, None for a row without an answer."""
        wanted = Counter(split_words(reference_answer(row.get(self.column)) or ""))
        if not wanted:
            return None
        found = Counter(split_words(final_answer(completion.text, self.place) or ""))
        shared = sum((wanted & found).values())
        return 2 * shared / (wanted.total() + found.total())


def split_words(text: str) -> list[str]:
    """Return a text's words in lower case; of scripts without spaces, each character."""
    return _WORDS.findall(normalize_answer(text))
