"""Where two texts differ, word by word; in scripts without spaces, character by character. Knows texts only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import groupby
from typing import NamedTuple

_UNSPACED = "぀-ヿ㐀-鿿"
_PARTS = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|\s+|.", re.DOTALL)
LONG_PARTS = 4000  # from here on very frequent parts are left out of the search, which is else quadratic


class Piece(NamedTuple):
    """A part of a text, and whether the other text has it in the same place."""

    text: str
    shared: bool


def diff_texts(left: str, right: str) -> tuple[list[Piece], list[Piece]]:
    """Return both texts in pieces; the pieces of each, put together, are the text."""
    ours, theirs = _PARTS.findall(left), _PARTS.findall(right)
    in_left, in_right = [False] * len(ours), [False] * len(theirs)
    for block in SequenceMatcher(None, ours, theirs, autojunk=len(ours) + len(theirs) > LONG_PARTS).get_matching_blocks():
        in_left[block.a : block.a + block.size] = [True] * block.size
        in_right[block.b : block.b + block.size] = [True] * block.size
    return _join(ours, in_left), _join(theirs, in_right)


def _join(parts: Sequence[str], shared: Sequence[bool]) -> list[Piece]:
    groups = groupby(zip(parts, shared, strict=True), key=lambda each: each[1])
    return [Piece("".join(part for part, _ in group), known) for known, group in groups]
