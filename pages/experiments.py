"""Experiments: every run, newest first; rename, throw away, bring back."""

from __future__ import annotations

import streamlit as st

from tunesmith.services import experiments
from tunesmith.services.experiments import ExperimentRow
from tunesmith.store.experiments import ACTIVE
from tunesmith.ui.dialogs import ask_delete, ask_name
from tunesmith.ui.experiment_table import draw_table
from tunesmith.ui.figures import show_time
from tunesmith.ui.frame import open_run
from tunesmith.ui.messages import toast
from tunesmith.ui.session import services, t


def ask_rename(row: ExperimentRow) -> None:
    """Ask for a new name."""

    def save(name: str) -> None:
        experiments.rename(services(), row.id, name)
        toast(t("experiments.renamed"))

    ask_name(t("experiments.rename_label"), row.name, save)


def ask_trash(row: ExperimentRow) -> None:
    """Ask before a run goes to the trash."""

    def trash() -> None:
        experiments.trash(services(), row.id)
        st.session_state["trashed"] = (row.id, row.name)

    ask_delete(t("experiments.trash_ask", name=row.name), trash)


def draw_undo() -> None:
    """Offer to bring back what was just thrown away."""
    if trashed := st.session_state.get("trashed"):
        run_id, name = trashed
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(t("experiments.trashed", name=name), icon=":material/delete:")
            if st.button(t("common.undo"), icon=":material/undo:"):
                del st.session_state["trashed"]
                experiments.restore(services(), run_id)
                toast(t("experiments.restored", name=name))
                st.rerun()


def draw_actions(row: ExperimentRow | None) -> None:
    """Draw what can be done with the selected run."""
    if row is None:
        st.caption(t("experiments.select"))
        return
    locked = services().read_only
    with st.container(horizontal=True):
        if st.button(t("common.open"), type="primary", icon=":material/open_in_new:"):
            open_run(row.id)
        if st.button(t("common.rename"), icon=":material/edit:", disabled=locked):
            ask_rename(row)
        if st.button(t("common.delete"), icon=":material/delete:", disabled=locked or row.status in ACTIVE):
            ask_trash(row)


def draw_unreadable(run_ids: list[str]) -> None:
    """Name the runs that cannot be read; each can be thrown away."""
    st.warning(t("experiments.unreadable", names=", ".join(run_ids)), icon=":material/broken_image:")
    with st.container(horizontal=True):
        for run_id in run_ids:
            if st.button(t("experiments.trash_one", name=run_id), key=f"trash-{run_id}", disabled=services().read_only):
                experiments.trash(services(), run_id)
                st.session_state["trashed"] = (run_id, run_id)
                st.rerun()


def draw_trash() -> None:
    """Draw the trash with a way back for each run."""
    with st.expander(t("experiments.trash"), icon=":material/delete:"):
        rows = experiments.trashed(services())
        st.caption(t("experiments.trash_text") if rows else t("experiments.trash_empty"))
        for row in rows:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.write(f"{row.name} · {show_time(row.created_at)}")
                if st.button(t("common.restore"), key=f"restore-{row.id}", disabled=services().read_only):
                    experiments.restore(services(), row.id)
                    toast(t("experiments.restored", name=row.name))
                    st.rerun()


st.title(t("experiments.title"))
st.write(t("experiments.intro"))
draw_undo()
if broken := experiments.unreadable(services()):
    draw_unreadable(broken)
if found := experiments.table(services()):
    draw_actions(draw_table(found, "experiments"))
else:
    st.info(t("experiments.empty"), icon=":material/info:")
draw_trash()
