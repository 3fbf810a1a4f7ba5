"""What the form of a new run begins with, beside the shipped values; each can be put back. Knows the service of the defaults."""

from __future__ import annotations

import streamlit as st

from tunesmith.access.people import ADMIN
from tunesmith.errors import UserError
from tunesmith.services import training_defaults
from tunesmith.services.run_settings import show_value
from tunesmith.services.training_defaults import DefaultLine
from tunesmith.ui.dialogs import ask_first
from tunesmith.ui.forms import show_choice
from tunesmith.ui.frame import link_to
from tunesmith.ui.messages import guarded, show_error, toast
from tunesmith.ui.session import services, t
from tunesmith.ui.training_form import setting_label


def draw_defaults() -> None:
    """Draw the defaults for new runs, and where they are made."""
    st.caption(t("defaults.text"))
    locked = not services().person.may(ADMIN) or not services().supervisor.in_charge
    if not services().person.may(ADMIN):
        st.caption(t("settings.admins_only"))
    try:
        lines = training_defaults.list_defaults(services())
    except UserError as error:  # written by hand
        show_error(error)
        lines = []
    if not lines and not services().settings.training_defaults:
        st.info(t("defaults.empty"), icon=":material/bookmark:")
    for line in lines:
        _draw_line(line, locked)
    with st.container(horizontal=True, vertical_alignment="center"):
        some = bool(services().settings.training_defaults)
        if some and st.button(t("defaults.reset_all"), icon=":material/restart_alt:", disabled=locked):
            ask_first(t("defaults.reset_all"), t("defaults.reset_ask"), lambda: _reset(""))
        link_to("training", t("defaults.to_form"))


def _draw_line(line: DefaultLine, locked: bool) -> None:
    with st.container(border=True):
        words, value, action = st.columns([2.2, 3, 1.2], vertical_alignment="center")
        name = line.name.rpartition(".")[2]
        words.markdown(f"**{setting_label(name)}**")
        value.markdown(f"{_show(line.value, name)} · {t('defaults.shipped', value=_show(line.shipped, name))}")
        if action.button(t("settings.reset_one"), key=f"default-{line.name}", disabled=locked, icon=":material/restart_alt:"):
            with guarded():
                _reset(line.name)
                st.rerun()


def _show(value: object, name: str) -> str:
    return show_choice(value, name) if isinstance(value, str) and value else show_value(value)


def _reset(name: str) -> None:
    training_defaults.reset_defaults(services(), name)
    toast(t("settings.saved"))
