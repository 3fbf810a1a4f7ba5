"""The record of a run on its page: events, log, settings, environment, files, what was made of it. Only the open part is read."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from tunesmith.reports.event_words import event_words
from tunesmith.reports.run_report import environment_rows, imported_words, step_of, time_of
from tunesmith.services import experiments, run_facts, runs
from tunesmith.services.run_facts import LARGEST_DOWNLOAD_BYTES
from tunesmith.ui.downloads import draw_download
from tunesmith.ui.experiment_card import draw_family
from tunesmith.ui.messages import guarded
from tunesmith.ui.run_files import draw_files
from tunesmith.ui.session import language, services, t

SHOWN_EVENTS, SHOWN_LINES = 300, 400


def draw_record(run_id: str) -> str:
    """Draw the parts of a run's record as tabs; return the open one, of `PARTS`."""
    st.markdown(f"##### {t('run.record')}")
    tabs = st.tabs([t(f"run.part_{name}") for name in PARTS], on_change="rerun", key=f"record-{run_id}")
    for tab, draw in zip(tabs, PARTS.values(), strict=True):
        with tab, guarded():
            if tab.open:
                draw(run_id)
    return next((name for name, tab in zip(PARTS, tabs, strict=True) if tab.open), "")


def _draw_events(run_id: str) -> None:
    told = [(event, words) for event in runs.events(services(), run_id) if (words := event_words(event, language()))]
    if not told:
        st.caption(t("run.no_events"))
        return
    if len(told) > SHOWN_EVENTS:
        st.caption(t("run.events_newest", shown=SHOWN_EVENTS, n=len(told)))
    newest = told[-SHOWN_EVENTS:]
    columns = {
        t("run.event_time"): [time_of(event) for event, _ in newest], t("run.x_axis"): [step_of(event) for event, _ in newest],
        t("run.event_words"): [words for _, words in newest],
    }  # fmt: skip
    st.dataframe(pd.DataFrame(columns), hide_index=True, width="stretch")


def _draw_log(run_id: str) -> None:
    path = run_facts.log_of(services(), run_id)
    lines = runs.log_tail(services(), run_id, SHOWN_LINES)
    search, download = st.columns([4, 1], vertical_alignment="bottom")
    wanted = search.text_input(t("run.log_search"), key=f"log-{run_id}", help=t("run.log_search_help", n=SHOWN_LINES))
    if path.is_file() and path.stat().st_size <= LARGEST_DOWNLOAD_BYTES:
        with download:
            draw_download(t("common.download"), lambda _: path.read_bytes(), f"{run_id}.log", key=f"log-file-{run_id}")
    found = [line for line in lines if wanted.casefold() in line.casefold()]
    st.code("\n".join(found) or t("run.no_line" if lines else "run.no_log"), language=None, height=320)


def _draw_settings(run_id: str) -> None:
    text = runs.config_yaml(services(), run_id)
    st.caption(t("run.settings_text"))
    st.code(text, language="yaml")
    draw_download(t("common.download"), text, f"{run_id}.yaml", key=f"yaml-{run_id}")


def _draw_environment(run_id: str) -> None:
    attempts = run_facts.environment_of(services(), run_id)
    base = run_facts.base_hash_of(services(), run_id)
    if not attempts:
        st.caption(t("environment.none"))
    if base:
        st.caption(f"{t('environment.base_hash')}: `{base}`")
    for attempt in reversed(attempts):
        if len(attempts) > 1:
            st.markdown(t("environment.attempt", n=attempt.get("attempt")))
        columns = list(zip(*environment_rows(attempt, language()), strict=True))
        st.dataframe(
            pd.DataFrame({t("environment.what"): columns[0], t("environment.value"): columns[1]}) if columns else pd.DataFrame(),
            hide_index=True, width="stretch", height="content", key=f"environment-{run_id}-{attempt.get('attempt')}",
        )  # fmt: skip


def _draw_lineage(run_id: str) -> None:
    imported = services().store.get(run_id).imported
    if imported:
        st.write(imported_words(imported, language()))
    rows = experiments.table(services())
    found = [draw_family(row, rows) for row in rows if row.id == run_id]
    if not any(found) and not imported:
        st.caption(t("run.nothing_made"))


PARTS: dict[str, Callable[[str], None]] = {
    "events": _draw_events, "log": _draw_log, "settings": _draw_settings, "environment": _draw_environment, "files": draw_files,
    "lineage": _draw_lineage,
}  # fmt: skip
