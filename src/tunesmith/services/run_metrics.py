"""Runs' metrics as CSV: of one run a line for each step, of several a line for each figure. Knows columns, no language."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from tunesmith.services.context import Services

FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")


def metrics_csv(s: Services, run_ids: Sequence[str]) -> str:
    """Return the metrics of one run by step, of several in long form with the run's id and name. Raises UserError `run_unknown`.

    Figures stand as they were recorded, in full; a metric that was not measured at a step is empty there.
    """
    ids = list(dict.fromkeys(run_ids))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if len(ids) == 1:
        _write_steps(s, ids[0], writer)
    else:
        _write_long(s, ids, writer)
    return text.getvalue()


def _write_steps(s: Services, run_id: str, writer: Any) -> None:
    reader = s.series(run_id)
    rows: dict[int, dict[str, float]] = {}
    for name in reader.names:
        for step, value in zip(*reader.column(name), strict=True):
            rows.setdefault(int(step), {})[name] = float(value)
    writer.writerow(["step", *map(_plain, reader.names)])
    for step in sorted(rows):
        writer.writerow([step, *(rows[step].get(name, "") for name in reader.names)])


def _write_long(s: Services, run_ids: Sequence[str], writer: Any) -> None:
    writer.writerow(["run_id", "run_name", "step", "metric", "value"])
    for run_id in run_ids:
        reader, name = s.series(run_id), _plain(s.store.display_name(s.store.get(run_id)))
        for metric in reader.names:
            for step, value in zip(*reader.column(metric), strict=True):
                writer.writerow([run_id, name, int(step), _plain(metric), float(value)])


def _plain(words: str) -> str:
    """Return a name that a spreadsheet does not take for a formula."""
    return f"'{words}" if words.startswith(FORMULA_MARKS) else words
