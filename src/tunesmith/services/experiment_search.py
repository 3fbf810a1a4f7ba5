"""Finding runs in a list of thousands: words, filters, order, one line for a group; which columns there are. Knows rows, no store."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from tunesmith.services.experiments import ExperimentRow, fold

COLUMNS = (
    "favourite", "name", "status", "model", "method", "data", "sparkline", "final_loss", "best_val_loss", "reward", "steps", "tokens",
    "duration_seconds", "created_at", "owner", "group", "tags", "notes", "id",
)  # fmt: skip
DEFAULT_COLUMNS = (
    "favourite", "name", "status", "model", "method", "sparkline", "final_loss", "best_val_loss", "reward", "duration_seconds",
    "created_at", "tags",
)  # fmt: skip
UNORDERED = {"sparkline", "notes", "tags"}
NO_VALUE = (None, "", ())
SETTING, FIGURE = "settings.", "figures."
OWN_SETTINGS = {"name", "model", "data", "method"}  # which are columns anyway
OWN_FIGURES = {"loss_last", "best_val_loss", "reward_last", "steps", "tokens_seen", "duration_seconds"}
FILTERS = ("status", "method", "model", "data", "tag", "owner", "group")
DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class RunQuery:
    """What is looked for: every word of `text`, one of the values of each filter that has any; `days` 0 is any time.

    `order` is a column; runs without a value in it come last in either direction.
    """

    text: str = ""
    filters: Mapping[str, Sequence[str]] | None = None
    favourites: bool = False
    days: int = 0
    order: str = "created_at"
    ascending: bool = False


def find(rows: Sequence[ExperimentRow], query: RunQuery, now: float | None = None) -> list[ExperimentRow]:
    """Return the rows that a query asks for, in its order."""
    words = fold(query.text).split()
    since = (now or time.time()) - query.days * DAY_SECONDS if query.days else 0.0
    wanted = {name: set(values) for name, values in (query.filters or {}).items() if values}
    found = [
        row
        for row in rows
        if (not query.favourites or row.favourite)
        and row.created_at >= since
        and all(values_of(row, name) & values for name, values in wanted.items())
        and all(word in row.words for word in words)
    ]
    return in_order(found, query.order, query.ascending)


def values_of(row: ExperimentRow, name: str) -> set[str]:
    """Return a row's values for a filter; an empty one is a run without tags, owner or group."""
    return set(row.tags) or {""} if name == "tag" else {getattr(row, name)}


def choices(rows: Sequence[ExperimentRow], name: str) -> Counter[str]:
    """Return which values a filter can have, with the number of their runs."""
    if name == "tag":
        return Counter(tag for row in rows for tag in row.tags or ("",))
    return Counter(map(attrgetter(name), rows))


def cell(row: ExperimentRow, column: str) -> Any:
    """Return a row's value in a column, None where it has none."""
    if column.startswith(SETTING):
        return row.settings.get(column.removeprefix(SETTING))
    if column.startswith(FIGURE):
        return row.figures.get(column.removeprefix(FIGURE))
    return getattr(row, column)


def in_order(rows: Sequence[ExperimentRow], column: str, ascending: bool) -> list[ExperimentRow]:
    """Return the rows by a column; equal ones stay newest first, those without a value come last."""
    cells = [(cell(row, column), row) for row in rows]
    known = [(value, row) for value, row in cells if value not in NO_VALUE]
    numbers = all(isinstance(value, int | float) for value, _ in known)
    known.sort(key=lambda each: each[0] if numbers else fold(str(each[0])), reverse=not ascending)
    return [row for _, row in known] + [row for value, row in cells if value in NO_VALUE]


def columns_of(rows: Sequence[ExperimentRow]) -> list[str]:
    """Return the columns that there can be: the list's own, then every setting and every figure that a run has."""
    settings = dict.fromkeys(name for keys in dict.fromkeys(tuple(row.settings) for row in rows) for name in keys)
    figures = dict.fromkeys(name for keys in dict.fromkeys(tuple(row.figures) for row in rows) for name in keys)
    own = [SETTING + name for name in settings if name not in OWN_SETTINGS]
    return [*COLUMNS, *own, *(FIGURE + name for name in figures if name not in OWN_FIGURES)]


def collapse(rows: Sequence[ExperimentRow]) -> tuple[list[ExperimentRow], Counter[str]]:
    """Return one row for each group, its first, and how many runs each group has; runs of no group stay as they are."""
    sizes = Counter(row.group for row in rows if row.group)
    seen: set[str] = set()
    kept = []
    for row in rows:
        if not row.group or row.group not in seen:
            kept.append(row)
            seen.add(row.group)
    return kept, sizes
