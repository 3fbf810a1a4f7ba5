"""Near duplicates against brute force over all pairs."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tunesmith.data.near_duplicates import NearDuplicateIndex, bands_of, jaccard, shingle_hashes


def test_jaccard_by_hand() -> None:
    # "abcdefg" has the pieces abcde, bcdef, cdefg; "abcdefx" abcde, bcdef, cdefx: 2 of 4 are shared
    assert jaccard(shingle_hashes("abcdefg"), shingle_hashes("abcdefx")) == 0.5
    assert jaccard(shingle_hashes("Abc  def"), shingle_hashes("abc def")) == 1.0
    assert len(shingle_hashes("")) == 1
    assert jaccard(shingle_hashes("あ"), shingle_hashes("い")) == 0.0


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.85, 0.95])
def test_a_pair_at_the_threshold_is_a_candidate(threshold: float) -> None:
    bands, rows = bands_of(threshold)
    assert bands * rows <= 128
    assert 1 - (1 - threshold**rows) ** bands > 0.99


@pytest.mark.parametrize("letters", ["abcdefghij ", "あいうえおかきくけこ漢字"])
def test_the_same_rows_as_all_pairs_give(letters: str) -> None:
    chance = random.Random(3)
    texts: list[str] = []
    for number in range(300):
        if number % 3 == 2:
            source = list(texts[chance.randrange(len(texts))])
            for _ in range(chance.randrange(1, 12)):
                source[chance.randrange(len(source))] = chance.choice(letters)
            texts.append("".join(source))
        else:
            texts.append("".join(chance.choices(letters, k=chance.randrange(80, 240))))
    shingles = [shingle_hashes(text) for text in texts]
    expected: dict[int, int] = {}
    for number in range(len(texts)):
        near = [e for e in range(number) if e not in expected and jaccard(shingles[number], shingles[e]) >= 0.8]
        if near:
            expected[number] = near[0]
    index = NearDuplicateIndex(0.8, texts.__getitem__)
    found = dict(pair for first in (0, 100, 200) for pair in index.add_block(first, texts[first : first + 100]))
    assert len(expected) > 20
    assert set(found) <= set(expected)  # the exact similarity decides: no false alarm
    assert len(found) >= 0.98 * len(expected)
    assert np.mean([found[n] == expected[n] for n in found]) > 0.98
