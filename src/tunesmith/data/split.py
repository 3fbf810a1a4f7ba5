"""Seeded split into training and validation rows; equal rows never stand on both sides."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import orjson

from tunesmith.data.formats import Row


def fingerprint(row: Row) -> bytes:
    """Return a hash of the row's content, whatever the order of its columns."""
    return hashlib.sha256(orjson.dumps(row.value, option=orjson.OPT_SORT_KEYS)).digest()


def split_rows(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Return (train, valid): about `share` of the distinct rows go to valid, at least one when there are two or more.

    Both keep the file's order. A share of 0 gives no validation rows.
    """
    groups: dict[bytes, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(fingerprint(row), []).append(index)
    if share <= 0 or len(groups) < 2:
        return list(rows), []
    count = min(len(groups) - 1, max(1, round(len(groups) * share)))
    chosen = random.Random(seed).sample(sorted(groups), count)
    aside = {index for key in chosen for index in groups[key]}
    return [row for i, row in enumerate(rows) if i not in aside], [row for i, row in enumerate(rows) if i in aside]
