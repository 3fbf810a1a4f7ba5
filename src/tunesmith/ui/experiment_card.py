"""One selected run below the list: what people say of it, where it comes from, what was made of it, what can be done with it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.services import experiments, run_family, training
from tunesmith.services.experiments import ExperimentRow
from tunesmith.services.run_family import Relative
from tunesmith.ui.dialogs import ask_name
from tunesmith.ui.experiment_actions import ask_export, ask_trash, export_help
from tunesmith.ui.experiment_filters import show_group
from tunesmith.ui.experiment_table import STAR
from tunesmith.ui.frame import go_to, open_run
from tunesmith.ui.messages import guarded, toast
from tunesmith.ui.run_titles import draw_run_name
from tunesmith.ui.session import lock_of, services, t
from tunesmith.ui.tag_choice import draw_tags
from tunesmith.ui.training_form import start_form_with

ICONS = {
    "continued": "fast_forward", "begun": "start", "fused": "merge", "export": "output", "evaluate": "fact_check", "judge": "balance",
    "benchmark": "speed",
}  # fmt: skip
SHOWN_RELATIVES = 12


def draw_card(row: ExperimentRow, rows: Sequence[ExperimentRow], tags: Sequence[str]) -> None:
    """Draw a selected run: actions, words of people, family; `tags` are those that are in use."""
    with st.container(border=True):
        star = f"{STAR} " if row.favourite else ""
        draw_run_name(row.id, f"{star}{row.name}")
        owner = t("experiments.by_owner", name=row.owner) if row.owner else ""
        st.caption(" · ".join(as_text(part) for part in (row.id, row.model, row.data, owner) if part))
        _draw_buttons(row)
        left, right = st.columns(2, gap="large")
        with left:
            _draw_labels(row, rows, tags)
        with right:
            _draw_notes(row)
            draw_family(row, rows)


def _draw_buttons(row: ExperimentRow) -> None:
    locked = services().read_only
    with st.container(horizontal=True):
        if st.button(t("common.open"), type="primary", icon=":material/open_in_new:"):
            open_run(row.id)
        if st.button(t("experiments.unstar") if row.favourite else t("experiments.star"), icon=":material/star:", disabled=locked):
            experiments.set_favourite(services(), [row.id], not row.favourite)
            st.rerun()
        if st.button(t("common.rename"), icon=":material/edit:", **lock_of(row.owner)):
            ask_name(t("experiments.rename_label"), row.name, lambda name: _rename(row, name))
        if st.button(t("run.again"), icon=":material/replay:", help=t("experiments.again_one_help")):
            config = training.parse_config(services().store.folder(row.id).config.read_text(encoding="utf-8"))
            start_form_with(config)
            go_to("training", view="new")
        if st.button(t("experiments.export"), icon=":material/folder_zip:", disabled=row.active, help=export_help()):
            ask_export([row])
        if st.button(t("common.delete"), icon=":material/delete:", **lock_of(row.owner, row.active)):
            ask_trash([row])


def _rename(row: ExperimentRow, name: str) -> None:
    experiments.rename(services(), row.id, name)
    toast(t("experiments.renamed"))


def _draw_labels(row: ExperimentRow, rows: Sequence[ExperimentRow], tags: Sequence[str]) -> None:
    draw_tags(t("experiments.tags"), row.id, row.tags, tags, lambda add, remove: experiments.change_tags(services(), [row.id], add, remove))
    key = f"group-{row.id}"
    st.session_state[key] = row.group  # as it is kept: another may have changed it
    st.text_input(
        t("experiments.group"), max_chars=200, key=key, help=t("experiments.group_help"), disabled=services().read_only,
        on_change=_set_group, args=(row.id, key),
    )  # fmt: skip
    members = sum(1 for each in rows if each.group == row.group) if row.group else 0
    if members > 1:
        st.button(t("experiments.show_group", n=members), on_click=show_group, args=(row.group,), icon=":material/folder_open:")


def _set_group(run_id: str, key: str) -> None:
    with guarded():
        experiments.set_group(services(), [run_id], st.session_state[key])


def _draw_notes(row: ExperimentRow) -> None:
    st.markdown(f"**{t('experiments.notes')}**")
    if row.notes:
        st.markdown(row.notes)
    key, seen, state = f"notes-{row.id}", f"notes-seen-{row.id}", st.session_state
    if key not in state or state[key] == state[seen]:  # nothing is typed: what is kept now
        state[key] = state[seen] = row.notes
    with st.popover(t("experiments.notes_edit"), icon=":material/edit_note:", disabled=services().read_only):
        notes = st.text_area(t("experiments.notes"), height=220, key=key, help=t("experiments.notes_help"), width=520)
        if st.button(t("common.save"), key=f"save-notes-{row.id}", type="primary"):
            if state[seen] != row.notes:
                state[seen] = row.notes
                st.warning(t("experiments.notes_changed"))
            else:
                experiments.set_notes(services(), row.id, notes)
                state[seen] = notes
                toast(t("experiments.notes_saved"))
                st.rerun()


def draw_family(row: ExperimentRow, rows: Sequence[ExperimentRow]) -> bool:
    """Draw what a run comes from and what was made of it; return whether there is any of it."""
    family = run_family.family_of(services(), row, rows)
    if not family.before and not family.after:
        return False
    st.markdown(f"**{t('experiments.family')}**", help=t("experiments.family_help"))
    for relative in family.before:
        _draw_relative(relative, t("experiments.family_run"), row.id)
    st.markdown(f"{_indent(len(family.before))}:material/radio_button_checked: **{as_text(row.name)}**")
    for relative in family.after[:SHOWN_RELATIVES]:
        _draw_relative(relative, t(f"experiments.family_{relative.kind}"), row.id)
    if len(family.after) > SHOWN_RELATIVES:
        st.caption(t("experiments.family_more", n=len(family.after) - SHOWN_RELATIVES))
    return True


def _indent(depth: int) -> str:
    return " " * 4 * depth


def _draw_relative(relative: Relative, words: str, run_id: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"{_indent(relative.depth)}:material/{ICONS[relative.kind]}: {words}", width="content")
        if not relative.present:
            st.caption(t("experiments.family_gone", name=as_text(relative.name)))
        elif st.button(as_text(relative.name), key=f"{relative.kind}-{relative.id}", type="tertiary"):
            page, address = place_of(relative, run_id)
            go_to(page, **address)


def place_of(relative: Relative, run_id: str) -> tuple[str, dict[str, str]]:
    """Return the page that shows a relative of a run, and what its address says."""
    places: dict[str, tuple[str, dict[str, str]]] = {
        "fused": ("adapters", {}), "export": ("export", {"view": "made", "run": run_id}),
        "evaluate": ("evaluate", {"view": "score", "evaluation": relative.id}),
        "judge": ("evaluate", {"view": "judge", "judgement": relative.id}), "benchmark": ("evaluate", {"view": "benchmark"}),
    }  # fmt: skip
    return places.get(relative.kind, ("training", {"run": relative.id}))
