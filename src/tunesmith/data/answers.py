"""Answers in texts: where the final one stands, its number, its letter, its words, texts made ready for comparison.

Knows no rows: rewards and evaluation ask it alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from fractions import Fraction

import regex

PLACES = ("auto", "tag", "boxed", "last_line", "whole")
_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT = re.compile(r"</think>", re.IGNORECASE)
_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_INTEGER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_PLAIN = rf"(?:{_INTEGER}(?:\.\d+)?|\.\d+)"
_NUMBER = re.compile(rf"(?<![\d^])(?<!\^[{{-])([-−+]?)({_PLAIN})(?:\s?/\s?({_PLAIN})|[eE]([-+]?\d+))?")  # the 2 of cm^2 is none
_FRACTION = re.compile(r"\\[dt]?frac\{(-?\d{1,60})\}\{(\d{1,60})\}")
_USUAL_WIDTH = {0x3000: " ", **{point: chr(point - 0xFEE0) for point in range(0xFF01, 0xFF5F)}}
_LONGEST_DIGITS = 60
_LARGEST_EXPONENT = 400
_SHORT_TEXT = 2000
# Putting combining marks in order takes the square of their number, so that no piece may have many.
_PIECES = re.compile(r"[\w\s]*+[^\w\s]{1,60}+|[\w\s]++")
_MARK = "####"
_MARKED_CHOICE = re.compile(r"(?<![A-Za-z])([A-Z])\)|^([A-Z])\.(?!\w)")
_PRONOUN = r"(?!(?<=I)\s+(?:am|think|believe|would|will|choose|chose|pick|select|say|guess|conclude|have|can)\b)"
_CHOICE = re.compile(rf"(?<![A-Za-z])([A-Z])(?![A-Za-z'’]){_PRONOUN}")
# scripts without spaces between words: kana and kanji, Thai and Lao, Burmese, Khmer
_UNSPACED = "\u3005\u3006\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_WORDS = regex.compile(rf"[{_UNSPACED}]\p{{M}}*+|[^\W{_UNSPACED}]++")  # regex's \w holds the marks of Indic and Arabic letters
_PARTS = regex.compile(rf"[^\W{_UNSPACED}]++|.", regex.DOTALL)


def final_answer(text: str, place: str = "auto") -> str | None:
    """Return the final answer of a text, None when it is not where it should be.

    `auto` takes an <answer> tag, else a \\boxed{}, else what follows ####, else the last line that is not empty; what stands in <think>
    is no answer, and nothing before a </think> is whose beginning the prompt holds.
    """
    text = _THOUGHT.split(_THINKING.sub("", text))[-1]
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
    """Return the answer in a row's column: what follows the last #### (as in GSM8K), else a \\boxed{}, else all; None when it is empty."""
    if value is None:
        return None
    text = str(value).strip()
    if _MARK in text:
        text = text.rpartition(_MARK)[2].strip()
    elif (boxed := _boxed(text)) is not None:
        text = boxed
    return text or None


def last_number(text: str) -> Fraction | None:
    """Return the last number of a text exactly: signs, thousands commas, decimals, a/b and exponents; full-width digits too.

    None when there is none, or when the last one divides by zero or has more digits than a number of use.
    """
    text = _FRACTION.sub(r"\1/\2", usual_width(text))
    last = next(iter(deque(_NUMBER.finditer(text), maxlen=1)), None)
    if last is None or len(last.group()) > _LONGEST_DIGITS:
        return None
    sign, number, divisor, exponent = last.groups()
    power, below = int(exponent or 0), _as_fraction(divisor or "1")
    if abs(power) > _LARGEST_EXPONENT or not below:
        return None
    value = _as_fraction(number) * Fraction(10) ** power / below
    before = text[last.start() - 1 : last.start()]
    is_difference = before == ")" or (before.isascii() and before.isalnum())  # x-3 ends in 3, not in minus three
    return -value if sign in {"-", "−"} and not is_difference else value


def _as_fraction(number: str) -> Fraction:
    return Fraction(number.replace(",", ""))


def usual_width(text: str) -> str:
    """Return a text with full-width letters, digits and signs in their usual width; nothing else changes, superscripts least of all."""
    return text if text.isascii() else text.translate(_USUAL_WIDTH)


def normalize_answer(text: str) -> str:
    """Return a text for comparison: one width of characters, lower case, single spaces, no closing full stop."""
    if len(text) <= _SHORT_TEXT or text.isascii():
        usual = unicodedata.normalize("NFKC", text)
    else:
        usual = "".join(unicodedata.normalize("NFKC", piece) for piece in _PIECES.findall(text))
    single = " ".join(usual.casefold().split())
    return single.rstrip(".。").rstrip() or single


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


def choice_letters(text: str) -> list[str]:
    """Return the letters that a text names: those with a bracket behind them, as in (B) and B), else those that stand alone."""
    text = usual_width(text)
    marked = [first or second for first, second in _MARKED_CHOICE.findall(text)]
    return marked or _CHOICE.findall(text)


def split_words(text: str) -> list[str]:
    """Return a text's words in lower case; of scripts without spaces, each character with its marks."""
    return list(_WORDS.findall(normalize_answer(text)))


def mentions(text: str, wanted: str) -> bool:
    """Return whether a text holds the wanted one, spelled alike; words of spaced scripts count whole, so 14 does not mention 4."""
    parts, wanted_parts = (_PARTS.findall(normalize_answer(each)) for each in (text, wanted))
    return bool(wanted_parts) and "\0".join(["", *wanted_parts, ""]) in "\0".join(["", *parts, ""])
