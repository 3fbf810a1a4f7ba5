"""Stop strings cut as if the text came character by character, wherever its pieces are cut; hand-made cases and random ones."""

from __future__ import annotations

import random

import pytest

from tunesmith.inference.stop_strings import StopStrings


def read_in_pieces(pieces: list[str], stops: list[str]) -> tuple[list[str], bool]:
    watch, released = StopStrings(stops), []
    for place, piece in enumerate(pieces):
        text, stopped = watch.feed(piece, last=place == len(pieces) - 1)
        released.append(text)
        if stopped:
            return released, True
    return released, False


def read_by_character(text: str, stops: list[str]) -> tuple[str, bool]:
    for end in range(1, len(text) + 1):
        if complete := [stop for stop in stops if text[:end].endswith(stop)]:
            return text[: end - max(map(len, complete))], True
    return text, False


@pytest.mark.parametrize(
    ("pieces", "stops", "released", "stopped"),
    [
        (["Hel", "lo wo", "rld"], ["lo w"], ["He", "l"], True),  # "l" is held back, for it may begin "lo w"
        (["a", "b", "d"], ["abc"], ["", "", "abd"], False),
        (["ab"], ["abc"], ["ab"], False),  # the text ends: what was held back comes
        (["xabc"], ["abc", "b"], ["xa"], True),  # "b" is complete before "abc" is
        (["xabc"], ["c", "abc"], ["x"], True),  # both end together: the longer one
        (["aaa", "ab"], ["aab"], ["a", "a"], True),
        (["東", "京都"], ["京都"], ["東", ""], True),
        (["a", "b"], [], ["a", "b"], False),
    ],
)
def test_known_cases(pieces: list[str], stops: list[str], released: list[str], stopped: bool) -> None:
    assert read_in_pieces(pieces, stops) == (released, stopped)


def test_pieces_do_not_matter() -> None:
    chance = random.Random(7)
    stops_found = 0
    for _ in range(3000):
        text = "".join(chance.choices("abc", k=chance.randint(1, 14)))
        stops = ["".join(chance.choices("abc", k=chance.randint(1, 5))) for _ in range(chance.randint(1, 3))]
        cuts = sorted(chance.sample(range(1, len(text)), k=chance.randint(0, len(text) - 1)))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        released, stopped = read_in_pieces(pieces, stops)
        assert ("".join(released), stopped) == read_by_character(text, stops), (pieces, stops)
        stops_found += stopped
    assert 500 < stops_found < 2900  # both outcomes were met
