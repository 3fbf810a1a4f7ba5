"""What can be done with many selected runs at once: tags, star, group, compare, run again, export, delete; and the undo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import streamlit as st

from tunesmith.data.run_packages import MOST_RUNS as MOST_PACKED
from tunesmith.errors import UserError
from tunesmith.i18n.markdown import as_text
from tunesmith.services import experiments, run_facts
from tunesmith.services.experiments import ExperimentRow
from tunesmith.services.overlays import MOST_RUNS
from tunesmith.ui.dialogs import ask_delete
from tunesmith.ui.frame import go_to
from tunesmith.ui.messages import describe, guarded, toast
from tunesmith.ui.run_files import draw_package
from tunesmith.ui.session import services, t

PROBLEM, TRASHED = "experiments_problem", "trashed"
QUICK = 10  # more than so many show how far it is
Thing = TypeVar("Thing")


def draw_actions(rows: Sequence[ExperimentRow], tags: Sequence[str]) -> None:
    """Draw what can be done with the selected runs; `tags` are those that are in use."""
    st.markdown(f"**{t('experiments.selected', n=len(rows))}**")
    locked = services().read_only
    with st.container(horizontal=True):
        if st.button(
            t("experiments.compare"), type="primary", icon=":material/stacked_line_chart:", disabled=not 2 <= len(rows) <= MOST_RUNS,
            help=t("experiments.compare_help", most=MOST_RUNS),
        ):  # fmt: skip
            go_to("overlay", runs=",".join(row.id for row in rows))
        starred = all(row.favourite for row in rows)
        if st.button(t("experiments.unstar") if starred else t("experiments.star"), icon=":material/star:", disabled=locked):
            _say(for_each(rows, lambda row: experiments.set_favourite(services(), [row.id], not starred)), len(rows))
        with st.popover(t("experiments.tags"), icon=":material/sell:", disabled=locked):
            _draw_tags(rows, tags)
        with st.popover(t("experiments.group"), icon=":material/folder:", disabled=locked):
            _draw_group(rows)
        if st.button(t("run.again"), icon=":material/replay:", disabled=locked, help=t("experiments.again_help")):
            _ask_again(rows)
        if st.button(t("experiments.export"), icon=":material/folder_zip:", disabled=len(rows) > MOST_PACKED, help=export_help()):
            ask_export(rows)
        if st.button(t("common.delete"), icon=":material/delete:", disabled=locked):
            ask_trash(rows)


def for_each(rows: Sequence[Thing], act: Callable[[Thing], object]) -> list[UserError]:
    """Do something with every run, tell how far it is, and return what went wrong: one bad run does not keep the others."""
    errors = []
    bar = st.progress(0.0) if len(rows) > QUICK else None
    for number, row in enumerate(rows, start=1):
        try:
            act(row)
        except UserError as error:
            errors.append(error)
        if bar:
            bar.progress(number / len(rows), text=t("common.of", part=number, whole=len(rows)))
    return errors


def _say(errors: Sequence[UserError], count: int) -> None:
    """Confirm, keep the first thing that went wrong for the next drawing, and draw again."""
    if len(errors) < count:
        toast(t("experiments.changed", n=count - len(errors)))
    if errors:
        st.session_state[PROBLEM] = errors[0]
    st.rerun()


def draw_problem() -> None:
    """Draw what went wrong last."""
    if problem := st.session_state.pop(PROBLEM, None):
        st.error(describe(problem), icon=":material/error:")


def _draw_tags(rows: Sequence[ExperimentRow], tags: Sequence[str]) -> None:
    add = st.multiselect(
        t("experiments.tags_add"), tags, accept_new_options=True, help=t("adapters.tags_help"), placeholder=t("adapters.tags_placeholder")
    )
    own = sorted({tag for row in rows for tag in row.tags})
    remove = st.multiselect(t("experiments.tags_remove"), own, placeholder=t("common.choose")) if own else []
    if st.button(t("experiments.apply"), key="apply-tags", type="primary", disabled=not (add or remove)):
        _say(for_each(rows, lambda row: experiments.change_tags(services(), [row.id], add, remove)), len(rows))


def _draw_group(rows: Sequence[ExperimentRow]) -> None:
    group = st.text_input(t("experiments.group"), max_chars=200, help=t("experiments.group_help"))
    if st.button(t("experiments.apply"), key="apply-group", type="primary"):
        _say(for_each(rows, lambda row: experiments.set_group(services(), [row.id], group)), len(rows))


def _ask_again(rows: Sequence[ExperimentRow]) -> None:
    @st.dialog(t("run.again"))
    def ask() -> None:
        with guarded():
            st.write(t("experiments.again_ask", n=len(rows)))
            if st.button(t("experiments.again_yes"), type="primary"):
                errors = for_each(rows, lambda row: run_facts.rerun(services(), row.id))
                if len(errors) < len(rows):
                    toast(t("experiments.again_queued", n=len(rows) - len(errors)))
                if errors:
                    st.session_state[PROBLEM] = errors[0]
                st.rerun()

    ask()


def export_help() -> str:
    """Return what a package is."""
    return t("experiments.export_help", most=MOST_PACKED)


def ask_export(rows: Sequence[ExperimentRow]) -> None:
    """Offer the ended ones among runs as a package."""
    ended = [row.id for row in rows if not row.active]

    @st.dialog(t("experiments.export"))
    def ask() -> None:
        with guarded():
            st.write(t("experiments.export_count", n=len(ended)))
            if ended:
                draw_package(ended, "experiments")

    ask()


def ask_trash(rows: Sequence[ExperimentRow]) -> None:
    """Ask before runs go to the trash; those that have not ended stay."""
    ended = [row for row in rows if not row.active]

    def trash() -> None:
        errors = for_each(ended, lambda row: experiments.trash(services(), row.id))
        gone = set(_missing(ended))
        st.session_state[TRASHED] = [(row.id, row.name) for row in ended if row.id in gone]
        if errors:
            st.session_state[PROBLEM] = errors[0]

    if len(rows) == 1:
        question = t("experiments.trash_ask", name=as_text(rows[0].name))
    elif len(ended) < len(rows):
        question = t("experiments.trash_ask_some", n=len(ended), active=len(rows) - len(ended))
    else:
        question = t("experiments.trash_ask_many", n=len(ended))
    ask_delete(question, trash)


def _missing(rows: Sequence[ExperimentRow]) -> list[str]:
    there = {row.id for row in experiments.table(services())}
    return [row.id for row in rows if row.id not in there]


def draw_undo() -> None:
    """Offer to bring back what was just thrown away, all of it."""
    trashed: list[tuple[str, str]] = st.session_state.get(TRASHED) or []
    if not trashed:
        return
    one = trashed[0][1] if len(trashed) == 1 else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        words = t("experiments.trashed", name=as_text(one)) if one else t("experiments.trashed_many", n=len(trashed))
        st.info(words, icon=":material/delete:")
        if st.button(t("common.undo"), icon=":material/undo:"):
            del st.session_state[TRASHED]
            restore_all([run_id for run_id, _ in trashed], one)


def restore_all(run_ids: Sequence[str], name: str = "") -> None:
    """Bring runs back from the trash, the one's `name` told, and draw again."""
    errors = for_each(run_ids, lambda run_id: experiments.restore(services(), run_id))
    if back := len(run_ids) - len(errors):
        toast(t("experiments.restored", name=as_text(name)) if name else t("experiments.restored_many", n=back))
    if errors:
        st.session_state[PROBLEM] = errors[0]
    st.rerun()
