"""Prompt sets on the page: choose, edit, ask all at once, bring from a data set, delete. Knows the prompt sets service."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.services import datasets, prompt_sets
from tunesmith.services.compare import MOST_QUESTIONS
from tunesmith.store.comparisons import Comparison, PromptSet
from tunesmith.ui.figures import show_count
from tunesmith.ui.messages import guarded, toast
from tunesmith.ui.session import lock_of, services, t

CHOSEN, NEXT, TRASHED = "prompt_set", "prompt_set_next", "prompt_set_trashed"


def draw_sets(can_ask: bool) -> list[str]:
    """Draw the sets; return the questions of the one that is to be asked now, else nothing."""
    wanted: list[str] = []
    with st.expander(t("compare.sets"), icon=":material/list_alt:"), guarded():
        st.caption(t("compare.sets_text"))
        _draw_undo()
        known = {each.id: each for each in prompt_sets.list_sets(services())}
        if (following := st.session_state.pop(NEXT, None)) is not None or st.session_state.get(CHOSEN, "") not in known:
            st.session_state[CHOSEN] = following if following in known else ""
        chosen = st.selectbox(
            t("compare.set"), ["", *known], key=CHOSEN, format_func=lambda i: known[i].name if i else t("compare.set_new"),
        )  # fmt: skip
        wanted = _draw_editor(known.get(chosen), can_ask)
        _draw_import()
    return wanted


def _draw_editor(chosen: PromptSet | None, can_ask: bool) -> list[str]:
    key = f"{chosen.id}-{chosen.changed_at}" if chosen else "new"
    lock = lock_of(chosen.owner if chosen else "")
    name = chosen.name if chosen else st.text_input(t("compare.set_name"), key="prompt_set_name", max_chars=100)
    frame = pd.DataFrame({t("compare.set_prompts"): pd.Series(list(chosen.prompts) if chosen else [""], dtype="str")})
    edited = st.data_editor(frame, num_rows="dynamic", hide_index=True, width="stretch", key=f"prompt-set-{key}", disabled=bool(lock))
    st.caption(t("compare.set_help"))
    prompts = [prompt for each in edited.iloc[:, 0].dropna() if (prompt := str(each).strip())]
    with st.container(horizontal=True):
        words = t("compare.set_run", n=show_count(len(prompts)))
        asked = prompts and st.button(words, type="primary", disabled=not can_ask, key=f"ask-{key}")
        if st.button(t("compare.set_save"), icon=":material/save:", **lock):
            _tell((prompt_sets.save if chosen else prompt_sets.save_new)(services(), name, prompts))
        if chosen and st.button(t("common.delete"), icon=":material/delete:", key="delete-prompt-set", **lock):
            _trash(chosen)
    return prompts if asked else []


def _draw_import() -> None:
    found = [each.id for each in datasets.list_datasets(services())]
    with st.form("prompt-set-import", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        dataset = st.selectbox(t("compare.set_import_data"), found, help=t("compare.set_import_help"), key="prompt_set_data")
        most = st.number_input(t("compare.set_import_most"), 1, MOST_QUESTIONS, 20, key="prompt_set_most")
        if st.form_submit_button(t("compare.set_import"), icon=":material/download:", disabled=services().read_only or not found):
            _tell(prompt_sets.import_held_out(services(), str(dataset), int(most)))


def draw_keep(comparison: Comparison) -> None:
    """Draw the way to keep the questions on the screen in a set."""
    with st.popover(t("compare.set_add"), icon=":material/playlist_add:", disabled=services().read_only), guarded():
        st.caption(t("compare.set_add_help"))
        names = [each.name for each in prompt_sets.list_sets(services())]
        name = st.selectbox(t("compare.set_name"), names or [t("compare.untitled")], accept_new_options=True, key=f"keep-{comparison.id}")
        if st.button(t("common.save"), key=f"keep-now-{comparison.id}"):
            _tell(prompt_sets.add_prompts(services(), str(name or ""), _questions(comparison)))


def _questions(comparison: Comparison) -> Sequence[str]:
    return [each.question for each in comparison.rounds]


def _tell(made: PromptSet) -> None:
    toast(t("compare.set_saved", name=as_text(made.name), n=show_count(len(made.prompts))))
    st.session_state[NEXT] = made.id
    st.rerun()


def _trash(chosen: PromptSet) -> None:
    prompt_sets.delete(services(), chosen.id)
    st.session_state[TRASHED] = chosen
    st.rerun()


def _draw_undo() -> None:
    trashed: PromptSet | None = st.session_state.get(TRASHED)
    if trashed:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(t("compare.trashed", name=as_text(trashed.name)), icon=":material/delete:")
            if st.button(t("common.undo"), icon=":material/undo:", key="prompt-set-undo"):
                del st.session_state[TRASHED]
                prompt_sets.restore(services(), trashed.id)
                toast(t("compare.restored", name=as_text(trashed.name)))
                st.session_state[NEXT] = trashed.id
                st.rerun()
