"""Quantities in words: sizes in three digits."""

from __future__ import annotations

import pytest

from tunesmith.i18n.catalog import format_bytes


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (999_400_000, "999 MB"), (999_600_000, "1 GB"), (2e12, "2 TB"), (1.5e15, "1,500 TB")],
)
def test_a_size_is_told_in_the_unit_that_it_rounds_to(count: float, words: str) -> None:
    assert format_bytes(count) == words
