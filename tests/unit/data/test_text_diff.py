"""Differences of texts: nothing is lost, what is marked is what the other text does not say."""

from __future__ import annotations

import random

import pytest

from tunesmith.data.text_diff import Piece, diff_texts


def marked(pieces: list[Piece]) -> list[str]:
    return [piece.text for piece in pieces if not piece.shared]


@pytest.mark.parametrize(
    ("left", "right", "only_left", "only_right"),
    [
        ("The policy is 45 days.", "The policy is 25 days.", ["45"], ["25"]),
        ("same", "same", [], []),
        ("", "new words", [], ["new words"]),
        ("本社は東京です。", "本社は大阪です。", ["東京"], ["大阪"]),
        ("one two three", "one three", ["two "], []),
        ("a\nb", "a b", ["\n"], [" "]),
        ("snake_case x", "snake_cases x", ["snake_case"], ["snake_cases"]),
    ],
)
def test_what_differs_is_marked(left: str, right: str, only_left: list[str], only_right: list[str]) -> None:
    ours, theirs = diff_texts(left, right)
    assert (marked(ours), marked(theirs)) == (only_left, only_right)


def test_pieces_make_the_text_again_and_shared_ones_are_alike() -> None:
    chance = random.Random(4)
    words = ["the", "policy", "<b>", "45", "日", "本", ".", "\n", " ", "é", "🙂"]
    for _ in range(200):
        left, right = ("".join(chance.choices(words, k=chance.randrange(30))) for _ in range(2))
        ours, theirs = diff_texts(left, right)
        assert ("".join(piece.text for piece in ours), "".join(piece.text for piece in theirs)) == (left, right)
        shared = ["".join(piece.text for piece in pieces if piece.shared) for pieces in (ours, theirs)]
        assert shared[0] == shared[1]
