"""The trash of the runs: a way back for each and for all, and out for good. Its records are read only while it is open."""

from __future__ import annotations

import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.services import experiments, rights
from tunesmith.ui.dialogs import ask_delete
from tunesmith.ui.experiment_actions import TRASHED, restore_all
from tunesmith.ui.figures import show_time
from tunesmith.ui.messages import guarded, toast
from tunesmith.ui.session import lock_of, services, t

SHOWN = 50


def draw_trash() -> None:
    """Draw the trash."""
    count = experiments.trashed_count(services())
    heading = t("experiments.trash_count", n=count) if count else t("experiments.trash")
    opened = st.expander(heading, icon=":material/delete:", key="experiments-trash", on_change="rerun")
    with opened, guarded():
        st.caption(t("experiments.trash_text") if count else t("experiments.trash_empty"))
        if count and opened.open:
            _draw_trashed()


def _draw_trashed() -> None:
    s = services()
    locked, rows = s.read_only, experiments.trashed(s)
    own = [row for row in rows if rights.may_change(s, row.owner)]
    with st.container(horizontal=True):
        if st.button(t("experiments.restore_all"), icon=":material/undo:", disabled=locked or not own):
            restore_all([row.id for row in own])
        deletable = experiments.trashed_count(s) - (len(rows) - len(own))  # what cannot be read, too
        if st.button(t("experiments.trash_clear"), icon=":material/delete_forever:", disabled=locked or not deletable):
            ask_delete(t("experiments.trash_clear_ask", n=deletable), _empty)
    for row in rows[:SHOWN]:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.write(f"{as_text(row.name)} · {show_time(row.created_at)}")
            if st.button(t("common.restore"), key=f"restore-{row.id}", **lock_of(row.owner)):
                restore_all([row.id], row.name)
    if len(rows) > SHOWN:
        st.caption(t("experiments.trash_more", n=len(rows) - SHOWN))


def _empty() -> None:
    experiments.empty_trash(services())
    st.session_state.pop(TRASHED, None)
    left = experiments.trashed_count(services())
    toast(t("experiments.trash_cleared_own", n=left) if left else t("experiments.trash_cleared"))
