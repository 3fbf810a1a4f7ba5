"""Where the final answer of a text stands, its number, and texts that are made to be slow."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest

from tunesmith.data.answers import PLACES, final_answer, last_number, mentions, normalize_answer, reference_answer, split_words

MANY = 200_000
SLOW_TEXTS = {
    "unclosed thoughts": "<think>" * (MANY // 7),
    "closing thoughts": "</think>" * (MANY // 8),
    "unclosed answers": "<answer>" * (MANY // 8),
    "boxes": "\\boxed{" * 50_000,
    "one box of braces": "\\boxed{" + "{" * MANY,
    "marks": "####" * 50_000,
    "digits": "7" * MANY,
    "thousands": "1" + ",234" * (MANY // 4) + "5",
    "points": "1." * (MANY // 2),
    "slashes": "1/" * (MANY // 2),
    "exponents": "1e" * (MANY // 2),
    "hats": "^1" * (MANY // 2),
    "fractions": "\\frac{1" * (MANY // 7),
    "line ends": "\n" * MANY,
    "spaces": " " * MANY,
    "marks on a letter": "a" + "\u0301\u0316" * (MANY // 2),
    "punctuation": "é" + "…!" * (MANY // 2),
}


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("so <answer> 16 </answer>.", "tag", "16"),
        ("<ANSWER>16</ANSWER>", "tag", "16"),
        ("<answer>1</answer> no, <answer>2</answer>", "tag", "2"),
        ("<answer>cut off", "tag", "cut off"),
        ("<answer></answer>", "tag", ""),
        ("16", "tag", None),
        ("<think><answer>1</answer></think>2", "tag", None),
        ("\\boxed{\\frac{1}{2}}", "boxed", "\\frac{1}{2}"),
        ("\\boxed{1} or \\boxed{{a}b}", "boxed", "{a}b"),
        ("\\boxed{\\boxed{5}}", "boxed", "5"),
        ("\\boxed{1", "boxed", None),
        ("one\n two \n\n", "last_line", "two"),
        (" \n ", "last_line", None),
        ("", "last_line", None),
        (" a\nb ", "whole", "a\nb"),
        ("<think>x</think> a", "whole", "a"),
        ("a <THINK>never closed", "whole", "a"),
        ("thought of the prompt</think>a", "whole", "a"),
        ("<think>a<think>b</think>c</think>d", "whole", "d"),
        ("<answer>1</answer>\\boxed{2}\n#### 3\n4", "auto", "1"),
        ("\\boxed{2}\n#### 3\n4", "auto", "2"),
        ("#### 3", "auto", "3"),
        ("#### 3\n#### 4", "auto", "4"),
        ("3\n4", "auto", "4"),
        ("<think>4", "auto", None),
        ("\\boxed{never closed\n4", "auto", "4"),
    ],
)
def test_the_final_answer(text: str, place: str, found: str | None) -> None:
    assert final_answer(text, place) == found


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (None, None), ("", None), ("  ", None), ("####", None), (16, "16"), (1.5, "1.5"), (0, "0"), ("a\nb", "a\nb"),
        ("3 × 4 = 12\n12 + 1 = 13\n#### 1,234", "1,234"), ("so \\boxed{42}.", "42"), ("\\boxed{1}\n#### 2", "2"),
    ],
)  # fmt: skip
def test_the_reference_answer(value: object, answer: str | None) -> None:
    assert reference_answer(value) == answer


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("no number", None), ("", None), ("16", 16), ("It is 16.", 16), ("-3", -3), ("−3", -3), ("+3", 3), ("x = -3", -3),
        ("5-3", 3), ("5 - 3", 3), ("x-3", 3), ("(5)-3", 3), ("is -3", -3), ("答えは-3です", -3), ("$-3", -3),
        ("1,234", 1234), ("1,234,567.5", Fraction(12345675, 10)), ("1,23", 23), ("1,2345", 2345), ("1, 2, 3", 3),
        ("0.25", Fraction(1, 4)), (".5", Fraction(1, 2)), ("-.5", Fraction(-1, 2)), ("007", 7),
        ("1/2", Fraction(1, 2)), ("-3 / 4", Fraction(-3, 4)), ("3\n/ 4", Fraction(3, 4)), ("1.5/3", Fraction(1, 2)), ("1/0", None),
        ("\\frac{1}{2}", Fraction(1, 2)), ("-\\dfrac{3}{4}", Fraction(-3, 4)), ("0/5", 0),
        ("1e3", 1000), ("2.5E-2", Fraction(1, 40)), ("-1e2", -100), ("1e999999999", None), ("3 eggs", 3),
        ("50%", 50), ("12.5 %", Fraction(25, 2)), ("16 cm²", 16), ("16 cm^2", 16), ("16 cm^{2}", 16), ("16 m^-1", 16),
        ("１６", 16), ("－１，２３４．５", Fraction(-24690, 20)), ("１／２", Fraction(1, 2)), ("٣", 3),
        ("1" * 60, int("1" * 60)), ("1" * 61, None), ("16 then " + "1" * 5000, None),
    ],
)  # fmt: skip
def test_the_last_number(text: str, number: Fraction | int | None) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("  The  Answer.\n", "the answer"), ("Ａｂｃ１２３", "abc123"), ("ﾃﾞｰﾀ", "データ"), ("東京。", "東京"), ("16 .", "16"),
        ("...", "..."), ("", ""), ("STRASSE", "strasse"), ("straße", "strasse"), ("e\u0301", "é"), ("\u3000x\u3000", "x"),
    ],
)  # fmt: skip
def test_texts_are_compared_alike(text: str, same: str) -> None:
    assert normalize_answer(text) == same


def test_a_long_text_is_normalized_like_a_short_one() -> None:
    """Long texts go in pieces: no letter may lose its marks at a border."""
    text = "Cafe\u0301 ﾃﾞｰﾀ「東京」…! क\u093c ᄀ\u1161\u11a8 "
    assert normalize_answer(text * 500) == " ".join([normalize_answer(text)] * 500)


def test_words_of_two_kinds_of_scripts() -> None:
    assert split_words("The big dog, 3 cats.") == ["the", "big", "dog", "3", "cats"]
    assert split_words("東京タワー 333m") == ["東", "京", "タ", "ワ", "ー", "333m"]
    assert split_words("𠮷野家") == ["𠮷", "野", "家"]
    assert split_words("한국어 말") == ["한국어", "말"]
    assert split_words("…!?") == []


@pytest.mark.parametrize(
    ("text", "wanted", "found"),
    [
        ("4 dogs", "4", True), ("14 dogs and 4 cats", "4", True), ("14 dogs", "4", False), ("dogs: 4", "4", True), ("4th", "4", False),
        ("東京都", "京", True), ("Tokyoです", "tokyo", True), ("C++.", "c++", True), ("C++ is", "C", True), ("-5", "5", True),
        ("text", "", False), ("", "text", False), ("text", "text", True), ("a  b", "A B", True), ("snake_case", "case", False),
    ],
)  # fmt: skip
def test_a_text_mentions_whole_words(text: str, wanted: str, found: bool) -> None:
    assert mentions(text, wanted) == found


@pytest.mark.parametrize("text", SLOW_TEXTS.values(), ids=SLOW_TEXTS)
def test_texts_that_are_made_to_be_slow(text: str) -> None:
    begin = time.process_time()
    for place in PLACES:
        final_answer(text, place)
    reference_answer(text)
    last_number(text)
    split_words(text)
    mentions(text, text[: MANY // 4])
    assert time.process_time() - begin < 4.0
