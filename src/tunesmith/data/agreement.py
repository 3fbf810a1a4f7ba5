"""What a text is worth beside a row's right answer: exact, by number, by choice, by shared words. Knows no rewards and no metrics."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from tunesmith.data.answers import choice_letters, final_answer, last_number, normalize_answer, reference_answer, split_words


def exact_match(text: str, wanted: object, place: str = "auto") -> float | None:
    """Return 1 when the final answer is the wanted one, letters and spaces aside, else 0; None when none is wanted."""
    reference = reference_answer(wanted)
    if reference is None:
        return None
    found = final_answer(text, place)
    return float(found is not None and normalize_answer(found) == normalize_answer(reference))


def numeric_match(text: str, wanted: object, place: str = "auto", tolerance: float = 0.0) -> float | None:
    """Return 1 when the final answer's last number is the wanted one, else 0; None when no number is wanted.

    `tolerance` is a share of the wanted number.
    """
    reference = last_number(reference_answer(wanted) or "")
    if reference is None:
        return None
    found = last_number(final_answer(text, place) or "")
    return float(found is not None and abs(found - reference) <= Fraction(str(tolerance)) * abs(reference))


def choice_match(text: str, wanted: object) -> float | None:
    """Return 1 when the final answer names the wanted letter and no other, else 0; None when no letter is wanted."""
    letters = choice_letters(reference_answer(wanted) or "")
    if not letters:
        return None
    found = choice_letters(final_answer(text) or "")
    return float(len(set(found)) == 1 and found[0] == letters[0])


def word_f1(text: str, wanted: object, place: str = "whole") -> float | None:
    """Return the F1 of the words that both have (SQuAD's F1, articles not left out); None when no word is wanted."""
    reference = Counter(split_words(reference_answer(wanted) or ""))
    if not reference:
        return None
    found = Counter(split_words(final_answer(text, place) or ""))
    return 2 * (reference & found).total() / (reference.total() + found.total())
