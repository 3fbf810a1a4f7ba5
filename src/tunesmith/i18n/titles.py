"""Titles told apart: a list to choose from tells its lines apart by their words alone. Knows no language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping


def tell_apart(titles: Mapping[str, str], *marks: Callable[[str], str]) -> dict[str, str]:
    """Return the titles by key; those that are alike get behind them what the first mark says of their key, then the next one."""
    told = dict(titles)
    for mark in marks:
        times = Counter(told.values())
        told = {key: f"{title}{mark(key)}" if times[title] > 1 else title for key, title in told.items()}
    return told
