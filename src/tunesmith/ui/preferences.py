"""What a person chose for the own browser, language and theme: kept in its cookies for a year. Knows no settings of the app."""

from __future__ import annotations

import streamlit as st

NAMES = ("language", "theme")
PREFIX = "tunesmith-"


def preference(name: str) -> str:
    """Return what was chosen, empty for nothing: in this session, or in an earlier one of the same browser."""
    chosen = st.session_state.get(f"own_{name}")
    return str(st.context.cookies.get(PREFIX + name, "") if chosen is None else chosen)


def keep_preference(name: str, value: str) -> None:
    """Keep a choice; an empty one is forgotten. The browser's cookie is written when the page is drawn next."""
    st.session_state[f"own_{name}"] = value


def cookies_to_write() -> dict[str, str]:
    """Return the cookies of what was chosen in this session; an empty one is to be deleted."""
    return {PREFIX + name: str(st.session_state[f"own_{name}"]) for name in NAMES if f"own_{name}" in st.session_state}
