"""Which runs are laid over each other: chosen in a list, by a whole sweep, or by the address. Knows the overlays service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.i18n.titles import tell_apart
from tunesmith.services.experiments import ExperimentRow
from tunesmith.services.overlays import DEFAULT_RUNS, MOST_RUNS
from tunesmith.services.run_colours import run_colours
from tunesmith.ui.figures import show_time
from tunesmith.ui.run_titles import MOST_OFFERED, dotted, newest_of, run_titles
from tunesmith.ui.session import t

BUTTON_CHARACTERS = 40
CHOSEN, ADDRESS, GROUP = "overlay_runs", "overlay_address", "overlay_group"


def choose_runs(offered: Sequence[ExperimentRow]) -> list[ExperimentRow]:
    """Draw the choice and return the chosen runs in their order; the address follows it, and leads when it is new."""
    known = {run.id: run for run in offered}
    asked = st.query_params.get("runs")
    if CHOSEN not in st.session_state or (asked is not None and asked != st.session_state.get(ADDRESS)):
        _begin_with(asked.split(",") if asked else [run.id for run in offered[:DEFAULT_RUNS]], known)
    st.session_state[CHOSEN] = [run_id for run_id in st.session_state[CHOSEN] if run_id in known]
    titles = run_titles(newest_of(offered, st.session_state[CHOSEN]))
    groups = Counter(run.group for run in offered if run.group)
    left, right = st.columns([3, 1]) if groups else (st.container(), None)
    chosen = left.multiselect(
        t("overlay.runs"), list(titles), key=CHOSEN, max_selections=MOST_RUNS, format_func=lambda run_id: titles[run_id],
        help=t("overlay.runs_help", most=MOST_RUNS, offered=MOST_OFFERED), placeholder=t("overlay.placeholder"),
    )  # fmt: skip
    if right:
        right.selectbox(
            t("overlay.group"), list(groups), index=None, key=GROUP, on_change=_take_group, args=(offered,),
            format_func=lambda group: t("overlay.group_label", name=group, n=groups[group]), help=t("overlay.group_help"),
            placeholder=t("overlay.group_placeholder"),
        )  # fmt: skip
    if missing := st.session_state.get("overlay_missing"):
        st.warning(t("overlay.missing", names=", ".join(missing)), icon=":material/link_off:")
    st.query_params["runs"] = st.session_state[ADDRESS] = ",".join(chosen)
    return [known[run_id] for run_id in chosen]


def _begin_with(run_ids: Sequence[str], known: dict[str, ExperimentRow]) -> None:
    wanted = [run_id for run_id in dict.fromkeys(run_ids) if run_id]
    st.session_state[CHOSEN] = [run_id for run_id in wanted if run_id in known][:MOST_RUNS]
    st.session_state["overlay_missing"] = [run_id[:60] for run_id in wanted if run_id not in known][:MOST_RUNS]


def _take_group(offered: Sequence[ExperimentRow]) -> None:
    """Choose all runs of the group that was picked, oldest first."""
    group = st.session_state.get(GROUP)
    if group:
        st.session_state[CHOSEN] = [run.id for run in reversed(offered) if run.group == group][:MOST_RUNS]
        st.session_state["overlay_missing"] = []
    st.session_state[GROUP] = None


def short_names(runs: Sequence[ExperimentRow]) -> dict[str, str]:
    """Return what the chosen runs are called beside each other, by id: their names, with time and id where two are alike."""
    times = {run.id: f" · {show_time(run.created_at)}" for run in runs}
    return tell_apart({run.id: run.name for run in runs}, times.__getitem__, lambda run_id: f" ({run_id[-6:]})")


def short_title(run: ExperimentRow) -> str:
    """Return a run's name as a button has room for it."""
    return as_text(run.name if len(run.name) <= BUTTON_CHARACTERS else f"{run.name[:BUTTON_CHARACTERS]}…")


def draw_names(runs: Sequence[ExperimentRow]) -> None:
    """Draw the runs' names behind their dots, for tables whose headings cannot have a colour."""
    colours, names = run_colours(run.id for run in runs), short_names(runs)
    st.html(" &emsp; ".join(dotted(names[run.id], colours[run.id]) for run in runs))
