"""The frame around the pages: which there are, and the sidebar's foot."""

from __future__ import annotations

from typing import Any

import streamlit as st

from tunesmith import __version__
from tunesmith.i18n.catalog import LANGUAGES
from tunesmith.ui.session import language, t

PAGES = {
    "work": (("home", "home"), ("dataset", "table_rows"), ("training", "model_training"), ("compare", "compare")),
    "library": (("experiments", "science"), ("fusion", "merge")),
    "system": (("settings", "settings"),),
}


def make_page(name: str, icon: str) -> Any:
    """Return a page of the navigation, titled in the session's language."""
    return st.Page(f"pages/{name}.py", title=t(f"nav.{name}"), icon=f":material/{icon}:", url_path=name, default=name == "home")


def draw_sidebar() -> None:
    """Draw the language choice and the version."""
    with st.sidebar:
        chosen = st.segmented_control(
            t("common.language"), LANGUAGES, default=language() if language() in LANGUAGES else "en",
            format_func=lambda lang: t(f"settings.lang_{lang}"), key="sidebar_language", label_visibility="collapsed",
        )  # fmt: skip
        if chosen and chosen != language() and language() in LANGUAGES:
            st.session_state["language"] = chosen
            st.rerun()
        st.caption(f"Tunesmith {__version__}")


def open_run(run_id: str) -> None:
    """Go to a run's own page."""
    st.switch_page("pages/training.py", query_params={"run": run_id})
