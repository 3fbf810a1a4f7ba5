"""What a page needs of its session: the services, the language, words. Knows no page."""

from __future__ import annotations

import streamlit as st

from tunesmith.i18n import catalog
from tunesmith.services import context
from tunesmith.services.context import Services


@st.cache_resource(show_spinner=False)
def _services() -> Services:
    return context.open_services()


def services() -> Services:
    """Return the process's services."""
    return _services()


def language() -> str:
    """Return the session's language: chosen here, in the address, in the settings, or the browser's."""
    allowed = (*catalog.LANGUAGES, catalog.PSEUDO)
    for candidate in (st.session_state.get("language"), st.query_params.get("lang"), services().settings.language):
        if candidate in allowed:
            return str(candidate)
    return "ja" if (st.context.locale or "").lower().startswith("ja") else "en"


def t(key: str, **values: object) -> str:
    """Return words in the session's language."""
    return catalog.t(key, language(), **values)
