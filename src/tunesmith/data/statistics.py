"""Counts over rows: kinds and repetitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tunesmith.data.formats import Row, row_kind
from tunesmith.data.split import fingerprint


def count_kinds(rows: Iterable[Row]) -> dict[str, int]:
    """Return how many rows there are of each kind, the most frequent first."""
    return dict(Counter(row_kind(row.value) for row in rows).most_common())


def count_duplicates(rows: Iterable[Row]) -> int:
    """Return how many rows repeat an earlier one exactly."""
    return sum(count - 1 for count in Counter(fingerprint(row) for row in rows).values())
