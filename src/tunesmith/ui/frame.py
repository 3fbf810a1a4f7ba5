"""The frame around the pages: which there are, and the sidebar's foot."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import streamlit as st

from tunesmith import __version__
from tunesmith.access.gate import LOGOUT
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import LANGUAGES
from tunesmith.i18n.markdown import as_text
from tunesmith.system.paths import REPOSITORY
from tunesmith.ui.messages import show_error
from tunesmith.ui.preferences import cookies_to_write, preference
from tunesmith.ui.presses import count_once
from tunesmith.ui.session import choose_language, door, language, person, services, t
from tunesmith.ui.theme import apply_theme

MAIN_SCRIPT = Path(__file__).parent / "main.py"
LOGO = Path(__file__).parent / "assets" / "logo.svg"

PAGES = {
    "work": (
        ("home", "home"), ("dataset", "table_rows"), ("training", "model_training"), ("compare", "compare"), ("arena", "how_to_vote"),
        ("evaluate", "fact_check"),
    ),
    "library": (
        ("experiments", "science"), ("overlay", "stacked_line_chart"), ("adapters", "extension"), ("fusion", "merge"), ("export", "output"),
    ),
    "system": (("settings", "settings"),),
}  # fmt: skip


def make_page(name: str) -> Any:
    """Return a page of the navigation, titled in the session's language."""
    icon = next(icon for pages in PAGES.values() for page, icon in pages if page == name)
    path = REPOSITORY / "pages" / f"{name}.py"
    return st.Page(path, title=t(f"nav.{name}"), icon=f":material/{icon}:", url_path=name, default=name == "home")


def draw_sidebar() -> None:
    """Draw the logo, the language choice and the version."""
    st.logo(str(LOGO), size="large")
    with st.sidebar:
        now = language() if language() in LANGUAGES else "en"
        chosen = st.segmented_control(
            t("common.language"), LANGUAGES, default=now, format_func=lambda lang: t(f"settings.lang_{lang}"), key="sidebar_language",
            label_visibility="collapsed",
        )  # fmt: skip
        if chosen and chosen != language() and language() in LANGUAGES:
            choose_language(chosen)
            st.rerun()
        if door().open_to_network and (who := person()):
            st.caption(f":material/person: {as_text(who.name)} · {t(f'role.{who.role}')}", help=t(f"role.may_{who.role}"))
            st.html(f'<a href="{LOGOUT}" target="_self" style="font-size:.85rem;color:inherit;opacity:.75">{t("login.leave")}</a>')
        st.caption(f"Tunesmith {__version__}")
        names = [name for pages in PAGES.values() for name, _ in pages]
        count_once()
        apply_theme(preference("theme") or services().settings.theme, names, cookies_to_write())


def draw_way_back() -> None:
    """Say that whoever sits here is no longer signed in, and lead through the door back to this page."""
    show_error(UserError("session_over"))
    page, query = urlsplit(st.context.url or "").path or "/", urlencode(st.query_params.to_dict())
    address = f"{page}?{query}" if query else page  # the door asks for the code on the way
    st.html(f'<a href="{html.escape(address)}" target="_self" style="color:inherit">{t("login.enter_again")}</a>')


def go_to(name: str, **query: str) -> None:
    """Go to a page, with what its address tells it."""
    st.switch_page(make_page(name), query_params=query)


def link_to(name: str, label: str = "") -> None:
    """Draw a link to a page."""
    st.page_link(make_page(name), label=label or t(f"nav.{name}"), icon=":material/arrow_forward:")


def open_run(run_id: str) -> None:
    """Go to a run's own page."""
    go_to("training", run=run_id)
