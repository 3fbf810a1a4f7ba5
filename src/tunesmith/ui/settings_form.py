"""The form of the app's own settings. Knows the system service."""

from __future__ import annotations

import dataclasses

import streamlit as st

from tunesmith.access.people import ADMIN
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import field_words
from tunesmith.services import system
from tunesmith.settings.schema import AppSettings
from tunesmith.ui.messages import show_error, toast
from tunesmith.ui.session import language, services, t

FIELDS = {field.name: field for field in dataclasses.fields(AppSettings)}


def words(name: str) -> tuple[str, str]:
    """Return label and help of a setting."""
    return field_words("AppSettings", FIELDS[name], language())


def save(**changes: object) -> None:
    """Save and say so."""
    before = services().settings
    try:
        after = system.save_settings(services(), **changes)
    except UserError as error:
        show_error(error)
        return
    restart = (before.data_folder, before.port) != (after.data_folder, after.port)
    st.session_state.pop("language", None)
    st.session_state.pop("sidebar_language", None)
    toast(t("settings.saved_restart") if restart else t("settings.saved"))
    st.rerun()


def draw_settings_form() -> None:
    """Draw all settings of the app."""
    now = services().settings
    with st.form("settings", border=True):
        left, right = st.columns(2)
        chosen = {}
        for place, name in ((left, "language"), (right, "theme")):
            label, help_text = words(name)
            values = list(FIELDS[name].metadata["choices"])
            shown = {value: t(f"settings.{'lang' if name == 'language' else 'theme'}_{value}") for value in values}
            index = values.index(getattr(now, name))
            chosen[name] = place.selectbox(label, values, index=index, help=help_text, format_func=shown.__getitem__)
        label, help_text = words("model_folders")
        folders = st.text_area(label, value="\n".join(now.model_folders), help=help_text, height=100)
        left, right = st.columns([3, 1])
        label, help_text = words("data_folder")
        data = left.text_input(label, value=now.data_folder, help=help_text, placeholder=str(services().data_dir))
        label, help_text = words("port")
        port = right.number_input(label, min_value=1024, max_value=65535, value=now.port, help=help_text)
        allowed = services().person.may(ADMIN)
        if not allowed:
            st.caption(t("settings.admins_only"))
        if st.form_submit_button(t("common.save"), type="primary", disabled=services().read_only or not allowed):
            lines = [line.strip() for line in folders.splitlines() if line.strip()]
            save(**chosen, model_folders=lines, data_folder=data.strip(), port=int(port))
