"""The choice among a page's views, and its place in the address. Knows names of views, nothing that they draw."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from tunesmith.ui.session import t

VIEW = "view"


def choose_view(page: str, views: Iterable[str], default: str = "") -> str:
    """Draw the choice and return the chosen view; the address (`?view=`) follows it, and leads when a link or Back changed it.

    `default`: what an address shows that names no view of the page, else the first. What the views are called is told by the words
    `<page>.view_<name>`.
    """
    names, key, told = list(views), f"{page}-view", f"{page}-view-told"
    asked, state = st.query_params.get(VIEW, ""), st.session_state
    addressed = asked if asked in names else default or names[0]
    pressed = key in state and state[key] != state.get(told)
    if not pressed:  # a press may come before the address of the press before it is known: it leads then
        state[key] = addressed
    chosen = st.segmented_control(
        t(f"{page}.view"), names, key=key, format_func=lambda name: t(f"{page}.view_{name}"), label_visibility="collapsed", required=True
    ) or addressed  # fmt: skip
    if pressed or chosen != addressed:
        st.query_params[VIEW] = chosen
    state[told] = chosen
    return chosen
