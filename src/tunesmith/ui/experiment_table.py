"""Experiments as a table of chosen columns. Knows rows of the experiments service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from tunesmith.i18n.catalog import has
from tunesmith.i18n.titles import tell_apart
from tunesmith.services.experiment_search import DEFAULT_COLUMNS, FIGURE, SETTING, cell
from tunesmith.services.experiments import ExperimentRow
from tunesmith.services.run_colours import run_colour
from tunesmith.ui.figures import show_duration, show_time
from tunesmith.ui.frame import open_run
from tunesmith.ui.run_status import STATUS_LOOK
from tunesmith.ui.session import t
from tunesmith.ui.training_form import setting_label

STAR = "★"
HEADINGS = {"sparkline": "curve", "best_val_loss": "best_loss", "duration_seconds": "duration", "created_at": "created"}  # others as named
ROW_HEIGHT, MOST_HEIGHT = 35, 640  # pixels
COLOUR = "colour"
DOT_PICTURE = (  # a picture: headings and cells of a table have no colour of their own
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='32' height='32'%3E"
    "%3Ccircle cx='16' cy='16' r='9' fill='%23{}'/%3E%3C/svg%3E"
)
NUMBERS = {"final_loss": "%.3f", "best_val_loss": "%.3f", "reward": "%.3f", "steps": "%d", "tokens": "%d"}
WORDS: Mapping[str, Callable[[Any], Any]] = {
    "favourite": lambda value: STAR if value else "", "status": lambda value: [t(f"status.{value}")], "tags": list,
    "duration_seconds": show_duration, "created_at": show_time,
}  # fmt: skip


def column_label(column: str) -> str:
    """Return a column's heading in the session's language."""
    name = column.rpartition(".")[2]
    if column.startswith(SETTING):
        return setting_label(name)
    if column.startswith(FIGURE):
        return t(f"experiments.figure_{name}") if has(f"experiments.figure_{name}") else name
    heading = f"experiments.{HEADINGS.get(column, column)}"
    return t(heading)


def column_labels(columns: Sequence[str]) -> dict[str, str]:
    """Return a heading of its own for each column, by name."""
    return tell_apart({column: column_label(column) for column in columns}, lambda column: f" ({column.partition('.')[2] or column})")


def as_frame(rows: Sequence[ExperimentRow], columns: Sequence[str], sizes: Mapping[str, int] | None = None) -> pd.DataFrame:
    """Return the rows under the names of their columns; with `sizes`, a row stands for its group, whose number of runs it shows."""
    values: dict[str, Any] = {}
    for column in columns:
        cells = [cell(row, column) for row in rows]
        if column in NUMBERS or (column.startswith((SETTING, FIGURE)) and all(isinstance(v, int | float | None) for v in cells)):
            values[column] = pd.Series(cells, dtype="float64")
        elif column.startswith(SETTING):
            values[column] = ["" if value is None else str(value) for value in cells]
        else:
            values[column] = [WORDS[column](value) for value in cells] if column in WORDS else cells
    frame = pd.DataFrame(values)
    if sizes:
        frame.insert(min(2, len(columns)), "runs", pd.Series([sizes.get(row.group) for row in rows], dtype="Int64"))
    return frame


def _configuration(columns: Sequence[str]) -> dict[str, Any]:
    """Return how each column is drawn, its heading with it."""
    found: dict[str, Any] = {}
    for column in columns:
        label = column_label(column)
        if column in NUMBERS:
            found[column] = st.column_config.NumberColumn(label, format=NUMBERS[column])
        elif column == "status":
            options, colours = [t(f"status.{status}") for status in STATUS_LOOK], [colour for colour, _ in STATUS_LOOK.values()]
            found[column] = st.column_config.MultiselectColumn(label, options=options, color=colours, width=110)
        elif column == "sparkline":
            found[column] = st.column_config.LineChartColumn(label, width="small")
        elif column == "tags":
            found[column] = st.column_config.ListColumn(label, width="small")
        elif column == "favourite":
            found[column] = st.column_config.TextColumn(STAR, width=36, help=label)
        elif column in {"name", "notes"}:
            found[column] = st.column_config.TextColumn(label, width="medium")
        else:
            found[column] = st.column_config.Column(label)
    return found


def draw_table(
    rows: Sequence[ExperimentRow], columns: Sequence[str], key: str, several: bool = False, sizes: Mapping[str, int] | None = None
) -> list[ExperimentRow]:
    """Draw the table and return the selected rows."""
    configuration = _configuration(columns) | {COLOUR: st.column_config.ImageColumn("", width=36, help=t("experiments.colour_help"))}
    if sizes:
        configuration["runs"] = st.column_config.NumberColumn(t("experiments.runs"), format="%d")
    frame = as_frame(rows, columns, sizes)
    frame.insert(0, COLOUR, [DOT_PICTURE.format(run_colour(row.id).removeprefix("#")) for row in rows])
    chosen = st.dataframe(
        frame, hide_index=True, width="stretch", height=min(MOST_HEIGHT, ROW_HEIGHT * (len(rows) + 1) + 3),
        column_config=configuration, on_select="rerun", selection_mode="multi-row" if several else "single-row",
        key=f"{key}-{hash(tuple(row.id for row in rows))}",  # another list, another selection
        placeholder=t("common.none"), row_height=ROW_HEIGHT,
    )  # fmt: skip
    return [rows[place] for place in chosen["selection"]["rows"] if place < len(rows)]


def draw_recent(rows: Sequence[ExperimentRow]) -> None:
    """Draw a short table; selecting a line opens the run."""
    empty = {column for column in ("reward", "favourite", "tags") if not any(cell(row, column) for row in rows)}
    if selected := draw_table(rows, [column for column in DEFAULT_COLUMNS if column not in empty], "recent"):
        open_run(selected[0].id)
