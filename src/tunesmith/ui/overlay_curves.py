"""The curves of several runs over each other, and their figures in a table. Knows the overlays service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.reports.metric_words import chart_words, metric_words
from tunesmith.services import overlays
from tunesmith.services.curves import GIGABYTES
from tunesmith.services.experiments import ExperimentRow
from tunesmith.services.overlays import Chart, FigureLine
from tunesmith.services.run_colours import run_colours
from tunesmith.ui.figures import show_number
from tunesmith.ui.frame import open_run
from tunesmith.ui.live import live_overlay
from tunesmith.ui.messages import guarded
from tunesmith.ui.open_tabs import renewal_seconds
from tunesmith.ui.overlay_choice import short_names, short_title
from tunesmith.ui.run_titles import DOT
from tunesmith.ui.session import language, services, t

DEFAULT_CHARTS = {"train_loss", "reward"}
MOST_CHARTS = 6
EVERY_SECONDS = 2.0
BEST = "★"
BEST_LOOK, DIFFERENT_LOOK = "background-color: rgba(42, 157, 116, 0.22)", "background-color: rgba(240, 150, 50, 0.22)"


def draw_curves(runs: Sequence[ExperimentRow]) -> None:
    """Draw the choice of charts and axis, the curves, and the table of their figures."""
    ids = [run.id for run in runs]
    charts = {chart.name: chart for chart in overlays.charts_of(overlays.recorded(services(), ids))}
    if not charts:
        st.info(t("overlay.no_metrics"), icon=":material/show_chart:")
        return
    shown, axis = _draw_choice(charts)
    if missing := overlays.without_axis(services(), ids, axis):
        names = short_names(runs)
        st.caption(t("overlay.without_axis", names=as_text(", ".join(names[run_id] for run_id in missing))))
    active = any(run.active for run in runs)
    if shown:
        live_overlay(short_names(runs), {chart.name: chart_title(chart) for chart in shown}, axis, active)
        metrics = [metric for chart in shown for metric in chart.metrics]
        st.fragment(_draw_figures, run_every=renewal_seconds(EVERY_SECONDS) if active else None)(runs, metrics)
    else:
        st.caption(t("overlay.choose_chart"))


def _draw_choice(charts: dict[str, Chart]) -> tuple[list[Chart], str]:
    wanted = st.session_state.get("overlay_charts", st.query_params.get("charts", "").split(","))
    kept = [name for name in wanted if name in charts]
    if wanted and not kept:  # an empty choice is one too
        kept = [name for name in charts if name in DEFAULT_CHARTS][:1] or list(charts)[:1]
    st.session_state["overlay_charts"] = kept
    left, right = st.columns([3, 2])
    shown = left.multiselect(
        t("overlay.charts"), list(charts), key="overlay_charts", max_selections=MOST_CHARTS, help=t("overlay.charts_help"),
        format_func=lambda name: chart_title(charts[name]),
    )  # fmt: skip
    first = st.query_params.get("x", "step")
    axis = right.segmented_control(
        t("overlay.axis"), list(overlays.AXES), default=first if first in overlays.AXES else "step", key="overlay_axis", required=True,
        format_func=lambda name: t(f"overlay.axis_{name}"), help=t("overlay.axis_help"),
    )  # fmt: skip
    st.query_params["charts"], st.query_params["x"] = ",".join(shown), axis
    return [charts[name] for name in shown], axis


def chart_title(chart: Chart) -> str:
    """Return what a chart is called."""
    return chart_words(chart, language())


def metric_title(metric: str) -> str:
    """Return what a metric is called where no panel stands above it; one of a person's own keeps its name."""
    return metric_words(metric, language())


def _draw_figures(runs: Sequence[ExperimentRow], metrics: Sequence[str]) -> None:
    with guarded():
        if overlays.statuses_of(services(), [run.id for run in runs]) != {run.id: run.status for run in runs}:
            st.rerun()  # what has ended renews itself no more
        lines = overlays.figures_of(services(), [run.id for run in runs], metrics)
        frame, labels = figures_frame(runs, lines)
        best = {f"{line.metric} {line.statistic}": line.best for line in lines}
        chosen = draw_marked(runs, frame, labels, best, "overlay-figures")
        st.caption(t("overlay.table_note", mark=BEST))
        if chosen and st.button(t("overlay.open", name=short_title(chosen)), icon=":material/open_in_new:"):
            open_run(chosen.id)


def figures_frame(runs: Sequence[ExperimentRow], lines: Sequence[FigureLine]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return a line for each run, its state and figures, and the columns' headings by name."""
    shown = {value: name for name, value in GIGABYTES.items()}
    frame: dict[str, Any] = {"status": [t(f"status.{run.status}") for run in runs]}
    frame |= {f"{line.metric} {line.statistic}": pd.Series(line.values, dtype="float64") for line in lines}
    labels = {
        f"{line.metric} {line.statistic}": f"{metric_title(shown.get(line.metric, line.metric))} · {t(f'overlay.{line.statistic}')}"
        for line in lines
    }
    return pd.DataFrame(frame), {"status": t("experiments.status"), **labels}


def draw_marked(
    runs: Sequence[ExperimentRow], frame: pd.DataFrame, labels: Mapping[str, str], best: Mapping[str, int | None], key: str
) -> ExperimentRow | None:
    """Draw a table whose lines are runs, behind their dots and names; `best` is the line to mark in a column; return the selected run."""
    colours, names = run_colours(run.id for run in runs), short_names(runs)
    frame = frame.copy()
    frame.insert(0, "dot", [DOT] * len(runs))
    frame.insert(1, "run", [names[run.id] for run in runs])
    looks = pd.DataFrame("", index=frame.index, columns=frame.columns)
    looks["dot"] = [f"color: {colours[run.id]}" for run in runs]
    numbers = pd.Index([name for name in frame.columns if frame[name].dtype == "float64"])
    styler = frame.style.format(_show, subset=numbers, na_rep=t("common.none"))
    for column, line in best.items():
        if line is not None:
            looks.loc[line, column] = BEST_LOOK
            styler = styler.format(lambda value: f"{BEST} {_show(value)}", subset=pd.IndexSlice[[line], [column]])
    headings = {name: st.column_config.Column(words) for name, words in {"run": t("overlay.run"), **labels}.items()}
    chosen = st.dataframe(
        styler.apply(lambda _: looks, axis=None), hide_index=True, width="content", height="content", on_select="rerun",
        selection_mode="single-row",
        key=f"{key}-{hash(tuple(run.id for run in runs))}",  # other lines, another selection
        column_config={"dot": st.column_config.Column("", width=30), **headings},
    )  # fmt: skip
    indices = chosen["selection"]["rows"]
    return runs[indices[0]] if indices and indices[0] < len(runs) else None


def _show(value: Any) -> str:
    return show_number(value)
