"""The frame around the pages: which there are, and the sidebar's foot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from tunesmith import __version__
from tunesmith.i18n.catalog import LANGUAGES
from tunesmith.system.paths import REPOSITORY
from tunesmith.ui.session import language, t

MAIN_SCRIPT = Path(__file__).parent / "main.py"

PAGES = {
    "work": (("home", "home"), ("dataset", "table_rows"), ("training", "model_training"), ("compare", "compare")),
    "library": (("experiments", "science"), ("fusion", "merge")),
    "system": (("settings", "settings"),),
}


def make_page(name: str) -> Any:
    """Return a page of the navigation, titled in the session's language."""
    icon = next(icon for pages in PAGES.values() for page, icon in pages if page == name)
    path = REPOSITORY / "pages" / f"{name}.py"
    return st.Page(path, title=t(f"nav.{name}"), icon=f":material/{icon}:", url_path=name, default=name == "home")


def go_to(name: str, **query: str) -> None:
    """Go to a page, with what its address tells it."""
    st.switch_page(make_page(name), query_params=query)


def link_to(name: str, label: str = "") -> None:
    """Draw a link to a page."""
    st.page_link(make_page(name), label=label or t(f"nav.{name}"), icon=":material/arrow_forward:")


def open_run(run_id: str) -> None:
    """Go to a run's own page."""
    go_to("training", run=run_id)
