"""Experiments: find runs among thousands, look at one, change many, throw away, bring back."""

from __future__ import annotations

import streamlit as st

from tunesmith.services import experiment_search, experiments, queue
from tunesmith.services.experiments import ExperimentRow
from tunesmith.ui.experiment_actions import TRASHED, draw_actions, draw_problem, draw_undo
from tunesmith.ui.experiment_card import draw_card
from tunesmith.ui.experiment_filters import ListView, clear, draw_view
from tunesmith.ui.experiment_table import draw_table
from tunesmith.ui.experiment_trash import draw_trash
from tunesmith.ui.frame import link_to
from tunesmith.ui.live_figures import watch_queue
from tunesmith.ui.messages import guarded
from tunesmith.ui.run_import_view import draw_run_import
from tunesmith.ui.session import services, t

SHOWN_UNREADABLE = 10


def draw_unreadable(run_ids: list[str]) -> None:
    """Name the runs that cannot be read; each can be thrown away."""
    shown, more = run_ids[:SHOWN_UNREADABLE], len(run_ids) - SHOWN_UNREADABLE
    st.warning(t("experiments.unreadable", names=", ".join(shown)), icon=":material/broken_image:")
    if more > 0:
        st.caption(t("experiments.unreadable_more", n=more, folder=str(services().store.experiments)))
    with st.container(horizontal=True):
        for run_id in shown:
            if st.button(t("experiments.trash_one", name=run_id), key=f"trash-{run_id}", disabled=services().read_only):
                experiments.trash(services(), run_id)
                st.session_state[TRASHED] = [(run_id, run_id)]
                st.rerun()


def draw_rows(found: list[ExperimentRow], total: int, view: ListView) -> list[ExperimentRow]:
    """Draw a page of what was found, and return the selected rows: of the page, or all that were found."""
    lines, sizes = experiment_search.collapse(found) if view.groups else (found, None)
    pages = max(1, -(-len(lines) // view.page_rows))
    words, pager = st.columns([2, 3], vertical_alignment="center")
    words.markdown(t("experiments.totals", n=f"{len(found):,}", total=f"{total:,}"))
    number = 1
    if pages > 1:
        with pager:  # not at the right end, where the table's own buttons appear
            number = st.pagination(pages, key=f"experiments-page-{hash((view.query.text, str(view), len(found)))}")
    first = (number - 1) * view.page_rows
    chosen = draw_table(lines[first : first + view.page_rows], view.columns, "experiments", several=True, sizes=sizes)
    if chosen and len(chosen) < len(found) and st.toggle(t("experiments.select_all", n=f"{len(found):,}"), key="experiments-all"):
        return found
    if sizes is None:
        return chosen
    groups, ids = {row.group for row in chosen if row.group}, {row.id for row in chosen}
    return [row for row in found if row.group in groups or row.id in ids]


st.title(t("experiments.title"))
st.write(t("experiments.intro"))
draw_run_import()
draw_undo()
draw_problem()
everything = experiments.look(services())
if everything.unreadable:
    draw_unreadable(everything.unreadable)
if any(row.active for row in everything.rows):
    watch_queue({"runs": queue.marks(queue.overview(services()))["runs"]})
if everything.rows:
    shown = draw_view(everything.rows)
    matching = experiment_search.find(everything.rows, shown.query)
    if matching:
        selected = draw_rows(matching, len(everything.rows), shown)
        tags = sorted(tag for tag in experiment_search.choices(everything.rows, "tag") if tag)
        with guarded():
            if len(selected) == 1:
                draw_card(selected[0], everything.rows, tags)
            elif selected:
                draw_actions(selected, tags)
            else:
                st.caption(t("experiments.select"))
    else:
        st.info(t("experiments.nothing_found", total=f"{len(everything.rows):,}"), icon=":material/search_off:")
        st.button(t("experiments.clear"), on_click=clear, key="clear-empty", icon=":material/filter_alt_off:")
else:
    st.info(t("experiments.empty"), icon=":material/info:")
    link_to("home", t("compare.to_home"))
draw_trash()
