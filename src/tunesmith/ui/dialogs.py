"""Questions that a page asks before it acts: a new name, a deletion. Knows nothing of what is renamed or deleted."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from tunesmith.ui.messages import guarded
from tunesmith.ui.session import t


def ask_name(label: str, value: str, save: Callable[[str], object]) -> None:
    """Ask for a new name and save it."""

    @st.dialog(t("common.rename"))
    def ask() -> None:
        with guarded():
            name = st.text_input(label, value=value, max_chars=200)
            if st.button(t("common.save"), type="primary"):
                save(name)
                st.rerun()

    ask()


def ask_delete(question: str, delete: Callable[[], object]) -> None:
    """Ask before something is deleted."""
    ask_first(t("common.delete"), question, delete)


def ask_first(action: str, question: str, act: Callable[[], object]) -> None:
    """Ask before something is done that `action` names, as a button does."""

    @st.dialog(action)
    def ask() -> None:
        with guarded():
            st.write(question)
            if st.button(action, type="primary"):
                act()
                st.rerun()

    ask()
