"""The final answer in a text: behind a tag, in a box, after ####, in the last line. Knows no rewards."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

PLACES = ("auto", "tag", "boxed", "last_line", "whole")
_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"[-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s?/\s?\d+)?(?:[eE][-+]?\d{1,3})?|[-−+]?\.\d+")
_LONGEST_DIGITS = 60
_MARK = "####"


def final_answer(text: str, place: str = "auto") -> str | None:
    """Return the final answer of a text, None when it is not where it should be.

    `auto` takes an <answer> tag, else a \\boxed{}, else what follows ####, else the last line that is not empty; what stands in <think>
    is no answer.
    """
    text = _THINKING.sub("", text)
    if place == "whole":
        return text.strip()
    if place == "tag":
        return _tagged(text)
    if place == "boxed":
        return _boxed(text)
    if place == "last_line":
        return _last_line(text)
    found = _tagged(text)
    if found is None:
        found = _boxed(text)
    if found is None and _MARK in text:
        found = text.rpartition(_MARK)[2].strip()
    return _last_line(text) if found is None else found


def reference_answer(value: object) -> str | None:
    """Return the answer in a row's column: what follows the last #### (GSM8K's form), a \\boxed{}, else the whole; None when it is empty."""
    if value is None:
        return None
    text = str(value).strip()
    if _MARK in text:
        text = text.rpartition(_MARK)[2].strip()
    elif (boxed := _boxed(text)) is not None:
        text = boxed
    return text or None


def last_number(text: str) -> Fraction | None:
    """Return the last number of a text exactly: signs, thousands commas, decimals, a/b and exponents; full-width digits too."""
    found = [match for match in _NUMBER.finditer(unicodedata.normalize("NFKC", text)) if len(match.group()) <= _LONGEST_DIGITS]
    return _as_fraction(found[-1].group(), text, found[-1].start()) if found else None


def _as_fraction(number: str, text: str, start: int) -> Fraction | None:
    if number[0] in "-−" and start and unicodedata.normalize("NFKC", text)[start - 1].isalnum():
        number = number[1:]  # 5-3: a difference, not the number minus three
    try:
        return Fraction(number.replace(",", "").replace("−", "-").replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        return None


def normalize_answer(text: str) -> str:
    """Return a text for comparison: one width of characters, lower case, single spaces, no closing full stop."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".。")


def _tagged(text: str) -> str | None:
    found = _TAG.findall(text)
    return found[-1].strip() if found else None


def _boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    begin = start + len("\\boxed{")
    depth = 1
    for place in range(begin, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if not depth:
            return text[begin:place].strip()
    return None


def _last_line(text: str) -> str | None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else None
