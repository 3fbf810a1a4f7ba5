"""Experiments as a table. Knows rows of the experiments service."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from tunesmith.services.experiments import ExperimentRow
from tunesmith.ui.figures import show_duration, show_time
from tunesmith.ui.frame import open_run
from tunesmith.ui.run_status import STATUS_LOOK
from tunesmith.ui.session import t


def as_frame(rows: Sequence[ExperimentRow]) -> pd.DataFrame:
    """Return the rows with headings in the session's language."""
    rewards = pd.Series([r.reward for r in rows], dtype="float64")
    return pd.DataFrame(
        {
            t("experiments.name"): [r.name for r in rows],
            t("experiments.status"): [[t(f"status.{r.status}")] for r in rows],
            t("experiments.model"): [r.model for r in rows],
            t("experiments.method"): [r.method for r in rows],
            t("experiments.curve"): [r.sparkline for r in rows],
            t("experiments.final_loss"): pd.Series([r.final_loss for r in rows], dtype="float64"),
            t("experiments.best_loss"): pd.Series([r.best_val_loss for r in rows], dtype="float64"),
            **({t("experiments.reward"): rewards} if rewards.notna().any() else {}),
            t("experiments.duration"): [show_duration(r.duration_seconds) for r in rows],
            t("experiments.created"): [show_time(r.created_at) for r in rows],
        }
    )


def draw_table(rows: Sequence[ExperimentRow], key: str) -> ExperimentRow | None:
    """Draw the table and return the selected row."""
    columns = {
        t("experiments.status"): st.column_config.MultiselectColumn(
            options=[t(f"status.{status}") for status in STATUS_LOOK], color=[colour for colour, _ in STATUS_LOOK.values()], width=110
        ),
        t("experiments.curve"): st.column_config.LineChartColumn(width="small"),
        t("experiments.name"): st.column_config.TextColumn(width="medium"),
        t("experiments.final_loss"): st.column_config.NumberColumn(format="%.3f"),
        t("experiments.reward"): st.column_config.NumberColumn(format="%.3f"),
        t("experiments.best_loss"): st.column_config.NumberColumn(format="%.3f"),
    }
    chosen = st.dataframe(
        as_frame(rows),
        hide_index=True,
        width="stretch",
        column_config=columns,
        on_select="rerun",
        selection_mode="single-row",
        key=key,
        placeholder=t("common.none"),
    )
    indices = chosen["selection"]["rows"]
    return rows[indices[0]] if indices and indices[0] < len(rows) else None


def draw_recent(rows: Sequence[ExperimentRow]) -> None:
    """Draw a short table; selecting a line opens the run."""
    if selected := draw_table(rows, "recent"):
        open_run(selected.id)
