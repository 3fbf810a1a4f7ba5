"""Which settings made the difference: what varies between runs against a metric, the best run, and a new run from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from tunesmith.errors import UserError
from tunesmith.i18n.markdown import as_text
from tunesmith.i18n.titles import tell_apart
from tunesmith.services import runs, sweep_results
from tunesmith.services.experiments import ExperimentRow
from tunesmith.services.run_colours import run_colours
from tunesmith.services.run_settings import show_value
from tunesmith.services.sweep_results import SweepResult
from tunesmith.ui.figures import show_number
from tunesmith.ui.frame import go_to, open_run
from tunesmith.ui.messages import show_error
from tunesmith.ui.overlay_choice import short_names, short_title
from tunesmith.ui.overlay_curves import draw_marked, metric_title
from tunesmith.ui.session import services, t
from tunesmith.ui.sweep_charts import parallel_figure, scatter_figure
from tunesmith.ui.training_form import setting_label, start_form_with

MOST_LINES = 6
SIDE_BY_SIDE = 3  # the names of more axes have no room in half a page
METRIC = "the metric"  # no setting is called so


def draw_sweep_results(chosen: Sequence[ExperimentRow]) -> None:
    """Draw the metric to judge by, the figures, the table and what to do with a run."""
    ids = [run.id for run in chosen]
    metrics = sweep_results.metrics_to_compare(services(), ids)
    if not metrics:
        st.info(t("overlay.no_metrics"), icon=":material/show_chart:")
        return
    _forget_gone("overlay_metric", metrics)
    metric = st.selectbox(t("overlay.metric"), metrics, format_func=metric_title, key="overlay_metric", help=t("overlay.metric_help"))
    result = sweep_results.sweep_result(services(), ids, metric)
    names = short_names(chosen)
    if without := [names[run_id] for run_id, value in zip(result.run_ids, result.values, strict=True) if value is None]:
        st.caption(t("overlay.without_metric", names=as_text(", ".join(without))))
    if not result.varied:
        st.info(t("overlay.nothing_varies"), icon=":material/check_circle:")
    elif len(chosen) > len(without):
        _draw_figures(result, names, metric_title(metric))
    _draw_runs(result, chosen, metric_title(metric))


def setting_labels(result: SweepResult) -> dict[str, str]:
    """Return what the varied settings are called, by name; of two with one label, both with their names."""
    return tell_apart({each.name: setting_label(each.name.rpartition(".")[2]) for each in result.varied}, lambda name: f" ({name})")


def _draw_figures(result: SweepResult, names: dict[str, str], metric: str) -> None:
    labels = setting_labels(result)
    best = {each.name: show_value(each.values[0]) for each in result.varied}
    told = as_text(", ".join(f"{labels[name]} {value}" for name, value in list(best.items())[:MOST_LINES]))
    if result.best:
        st.success(
            t("overlay.best_is", name=as_text(names[result.best]), metric=metric, value=show_number(result.values[0]), settings=told),
            icon=":material/flag:",
        )
    by_name = {each.name: each for each in result.varied}
    wide = len(by_name) > SIDE_BY_SIDE
    left, right = (st.container(), st.container()) if wide else st.columns(2)
    with left:
        _forget_gone("overlay_parallel", by_name)
        shown = st.multiselect(
            t("overlay.parallel"), by_name, default=list(by_name)[:MOST_LINES], key="overlay_parallel", format_func=labels.__getitem__,
            max_selections=MOST_LINES, help=t("overlay.parallel_help"),
        )  # fmt: skip
        figure = parallel_figure(result, [by_name[name] for name in shown], labels, metric)
        st.plotly_chart(figure, width="stretch", key="overlay-parallel")
    with right:
        _forget_gone("overlay_against", by_name)
        name = st.selectbox(
            t("overlay.against"), by_name, format_func=labels.__getitem__, key="overlay_against", help=t("overlay.against_help")
        )
        figure = scatter_figure(result, by_name[name], labels[name], metric, names, run_colours(result.run_ids))
        st.plotly_chart(figure, width="stretch", key="overlay-scatter")


def _forget_gone(key: str, options: Collection[str]) -> None:
    """Forget a choice that other runs no longer offer."""
    chosen = st.session_state.get(key, [])
    if not set([chosen] if isinstance(chosen, str) else chosen) <= set(options):
        del st.session_state[key]


def _draw_runs(result: SweepResult, chosen: Sequence[ExperimentRow], metric: str) -> None:
    """Draw the runs, best first, and the ways from the selected one: the best when none is."""
    by_id = {run.id: run for run in chosen}
    ordered = [by_id[run_id] for run_id in result.run_ids]
    frame: dict[str, Any] = {each.name: [show_value(value) for value in each.values] for each in result.varied}
    frame[METRIC] = pd.Series(result.values, dtype="float64")
    labels = {**setting_labels(result), METRIC: f"{metric} · {t('overlay.best')}"}
    selected = draw_marked(ordered, pd.DataFrame(frame), labels, {METRIC: 0 if result.best else None}, "overlay-sweep")
    selected = selected or ordered[0]
    with st.container(horizontal=True, vertical_alignment="center"):
        name = short_title(selected)
        if st.button(t("overlay.open", name=name), icon=":material/open_in_new:"):
            open_run(selected.id)
        if st.button(t("overlay.again", name=name), type="primary", icon=":material/replay:", help=t("overlay.again_help")):
            try:
                start_form_with(runs.snapshot(services(), selected.id).config)
            except UserError as error:
                show_error(error)
            else:
                go_to("training", view="new")
