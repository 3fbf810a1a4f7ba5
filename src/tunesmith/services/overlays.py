"""Several runs laid over each other: which charts they share, their curves along one axis, their figures. Knows no language.

The curves leave as bytes for the browser, which smooths and draws them; a run that has not ended goes on there by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tunesmith.errors import UserError
from tunesmith.services.context import Services
from tunesmith.services.curves import GIGABYTES, PANELS, Line, matching, pack_lines, shown_column, smooth
from tunesmith.store.experiments import ACTIVE
from tunesmith.store.series import Floats, MetricSeries

MOST_RUNS = 20
DEFAULT_RUNS = 3
AXES = {"step": "", "epoch": "epoch", "tokens": "tokens_seen", "time": "elapsed_seconds"}
NO_CURVES = {*AXES.values(), "steps_planned", "time"}
HELD_OUT = "val_"
BETTER_LOWER = {"train_loss", "val_loss", "val_perplexity", "seconds_per_step"}
BETTER_HIGHER = {
    "reward", "val_reward", "reward_margin", "val_margin", "reward_accuracy", "val_accuracy", "reward_chosen", "tokens_per_second",
}  # fmt: skip
Better = Literal["lower", "higher", ""]


@dataclass(frozen=True)
class Chart:
    """One plot: a metric, and its measure on held-out rows where its panel has one."""

    metrics: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the address calls it."""
        return self.metrics[0]


@dataclass(frozen=True)
class FigureLine:
    """One figure of several runs: `statistic` is `last`, `best`, `min` or `max`; a value is None where the run never measured it."""

    metric: str
    statistic: str
    values: tuple[float | None, ...]
    steps: tuple[int | None, ...]
    best: int | None


def statuses_of(s: Services, run_ids: Iterable[str]) -> dict[str, str]:
    """Return the state of each run by id, at most of `MOST_RUNS`; those that cannot be read are left out."""
    found: dict[str, str] = {}
    for run_id in list(dict.fromkeys(run_ids))[:MOST_RUNS]:
        with suppress(UserError):
            found[run_id] = s.store.get(run_id).status
    return found


def better(metric: str) -> Better:
    """Return which values of a metric are better, empty when neither is."""
    if metric in BETTER_LOWER:
        return "lower"
    return "higher" if metric in BETTER_HIGHER or metric.startswith("reward/") else ""


def charts_of(metrics: Iterable[str]) -> list[Chart]:
    """Return the charts of recorded metrics in the panels' order, then those of no panel."""
    left = list(dict.fromkeys(name for name in metrics if name not in NO_CURVES))
    charts: list[Chart] = []
    for panel in {panel.name: panel for panels in PANELS.values() for panel in panels}.values():
        names = [name for metric in panel.metrics for name in matching(left, metric) if name in left]
        leading = tuple(name for name in names if name == panel.metrics[0] or name.startswith(HELD_OUT))
        charts += [Chart(group) for group in (leading, *((name,) for name in names if name not in leading)) if group]
        left = [name for name in left if name not in names]
    return charts + [Chart((name,)) for name in left]


def recorded(s: Services, run_ids: Sequence[str]) -> list[str]:
    """Return the names of all metrics that any of the runs has recorded."""
    return list(dict.fromkeys(name for run_id in run_ids for name in s.series(run_id).names))


def along(axis: str, steps: Floats, reader: MetricSeries) -> Floats | None:
    """Return the places [points] of a run's steps [points] on an axis of `AXES`, None when the run did not record it.

    Between two reports, as at a validation, the axis goes on evenly; it begins with 0 at step 0.
    """
    if axis == "step":
        return steps
    known, places = reader.column(AXES[axis])
    return np.interp(steps, np.concatenate([[0.0], known]), np.concatenate([[0.0], places])) if len(known) else None


def without_axis(s: Services, run_ids: Sequence[str], axis: str) -> list[str]:
    """Return the runs that have curves and no place on an axis."""
    return [run for run in run_ids if axis != "step" and (reader := s.series(run)).names and not len(reader.column(AXES[axis])[0])]


def pack_overlay(s: Services, run_ids: Sequence[str], names: Sequence[str], axis: str, since: int, smoothing: float = 0.0) -> bytes | None:
    """Return the curves of the charts `names` as `curves.pack_lines` lays them out, None when nothing is new since a revision.

    With smoothing, a line of training stands behind its smoothed one; what is held out is never smoothed. Runs that are gone are left
    out. Raises ValueError for an axis that is none of `AXES`, and as `curves.smooth` does.
    """
    if axis not in AXES:
        raise ValueError(axis)
    statuses = statuses_of(s, run_ids)
    readers = {run_id: s.series(run_id) for run_id in statuses}
    rev = sum(reader.rev for reader in readers.values())
    active = not ACTIVE.isdisjoint(statuses.values())
    if rev == since and active:
        return None
    charts = [chart for chart in charts_of(recorded(s, list(readers))) if chart.name in names]
    lines: list[Line] = []
    panels: list[dict[str, object]] = []
    for chart in charts:
        own = [line for metric in chart.metrics for run, reader in readers.items() for line in _lines(reader, run, metric, axis, smoothing)]
        lines += own
        panels.append({"name": chart.name, "series": [facts["name"] for facts, _, _ in own], "from_zero": False})
    return pack_lines({"rev": rev, "active": active, "panels": panels}, lines)


def _lines(reader: MetricSeries, run_id: str, metric: str, axis: str, smoothing: float) -> list[Line]:
    """Return a metric's line of one run, faint behind its smoothed one where there is one; none without points."""
    steps, values = shown_column(reader, metric)
    places = along(axis, steps, reader)
    if not len(steps) or places is None:
        return []
    held_out = metric.startswith(HELD_OUT)
    facts: dict[str, object] = {"name": f"{run_id} {metric}", "run": run_id, "held_out": held_out}
    smoothed = values if held_out else smooth(values, smoothing)
    raw: list[Line] = [] if smoothed is values else [({**facts, "name": f"{run_id} {metric} raw", "raw": True}, places, values)]
    return [*raw, (facts, places, smoothed)]


def figures_of(s: Services, run_ids: Sequence[str], metrics: Sequence[str] | None = None) -> list[FigureLine]:
    """Return last and best values of metrics (all that were recorded when None), with the steps at which they were measured.

    A metric of which neither direction is better has smallest and largest instead of best. Memory is in GB.
    """
    readers = [s.series(run_id) for run_id in run_ids]
    wanted = metrics if metrics is not None else [name for chart in charts_of(recorded(s, run_ids)) for name in chart.metrics]
    lines = []
    for metric in wanted:
        columns = [shown_column(reader, metric) for reader in readers]
        for statistic in ("last", "best") if better(metric) else ("last", "min", "max"):
            lines.append(_figure_line(metric, statistic, columns))
    return lines


def _figure_line(metric: str, statistic: str, columns: Sequence[tuple[Floats, Floats]]) -> FigureLine:
    direction = better(metric)
    smallest = statistic == "min" or (statistic == "best" and direction == "lower")
    places = [_place(values, "last" if statistic == "last" else "min" if smallest else "max") for _, values in columns]
    found = [None if at is None else float(values[at]) for (_, values), at in zip(columns, places, strict=True)]
    steps = tuple(None if at is None else int(own[at]) for (own, _), at in zip(columns, places, strict=True))
    return FigureLine(GIGABYTES.get(metric, metric), statistic, tuple(found), steps, best_place(found, direction))


def _place(values: Floats, which: str) -> int | None:
    if not len(values):
        return None
    return len(values) - 1 if which == "last" else int(values.argmin() if which == "min" else values.argmax())


def best_place(values: Sequence[float | None], direction: Better) -> int | None:
    """Return the place of the best value, the first of several; None when no direction is better or none is better than another."""
    known = [(value, place) for place, value in enumerate(values) if value is not None]
    if not direction or len({value for value, _ in known}) < 2:
        return None
    return min(known)[1] if direction == "lower" else max(known, key=lambda each: (each[0], -each[1]))[1]
