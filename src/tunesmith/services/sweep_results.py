"""What came of runs whose settings differ: the settings that vary, a metric, the best run. Knows no language."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.services.context import Services
from tunesmith.services.overlays import best_place, better, charts_of, figures_of, recorded
from tunesmith.services.run_settings import compare_settings, differing

LOG_RATIO = 20.0


@dataclass(frozen=True)
class Varied:
    """A setting that varies, and its value of each run; None where a run does not have it."""

    name: str
    values: tuple[Any, ...]

    @property
    def numeric(self) -> bool:
        """Whether all values are numbers."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)

    @property
    def wants_log(self) -> bool:
        """Whether the values, all positive, spread so far that a logarithmic axis tells them apart."""
        return self.numeric and min(self.values) > 0 and max(self.values) / min(self.values) >= LOG_RATIO


@dataclass(frozen=True)
class SweepResult:
    """Runs in the order of the metric, best first, those without it last; `values` are theirs, `best` the best one's id.

    `varied` are the settings that vary among runs that have the metric, numbers first; `best` is None where none is better than another.
    """

    run_ids: tuple[str, ...]
    varied: tuple[Varied, ...]
    metric: str
    statistic: str
    values: tuple[float | None, ...]
    best: str | None
    lower_is_better: bool


def metrics_to_compare(s: Services, run_ids: Sequence[str]) -> list[str]:
    """Return the metrics of which a best run can be told: held-out ones first."""
    names = [name for chart in charts_of(recorded(s, run_ids)) for name in chart.metrics if better(name)]
    return sorted(names, key=lambda name: not name.startswith("val_"))


def sweep_result(s: Services, run_ids: Sequence[str], metric: str) -> SweepResult:
    """Return what varies between runs, with the best value of a metric of `metrics_to_compare`. Raises UserError `run_unknown`."""
    line = next(line for line in figures_of(s, run_ids, [metric]) if line.statistic == "best")
    order = sorted(range(len(run_ids)), key=lambda place: _rank(line.values[place], better(metric) == "higher"))
    values = tuple(line.values[place] for place in order)
    measured = [place for place in order if line.values[place] is not None]
    settings = [each for each in differing(compare_settings(s, run_ids)) if each.section == "settings"]
    settings = [each for each in settings if any(each.values[place] != each.values[measured[0]] for place in measured)]
    varied = [Varied(each.name, tuple(each.values[place] for place in order)) for each in settings]
    best = best_place(values, better(metric))
    return SweepResult(
        run_ids=tuple(run_ids[place] for place in order),
        varied=tuple(sorted(varied, key=lambda each: not each.numeric)),
        metric=line.metric, statistic=line.statistic, values=values,
        best=None if best is None else run_ids[order[best]], lower_is_better=better(metric) == "lower",
    )  # fmt: skip


def _rank(value: float | None, higher: bool) -> float:
    if value is None:
        return math.inf
    return -value if higher else value
