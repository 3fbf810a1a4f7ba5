"""Settings: language, folders, this computer."""

from __future__ import annotations

import dataclasses

import pandas as pd
import streamlit as st

from tunesmith.access.people import ADMIN
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import field_words
from tunesmith.services import models, system
from tunesmith.settings.schema import AppSettings
from tunesmith.ui.figures import show_bytes, show_count
from tunesmith.ui.messages import describe, show_error, toast
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


def draw_form() -> None:
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


def draw_models() -> None:
    """Draw the models found in the folders, broken ones with the reason."""
    found = models.list_models(services())
    table = {
        t("settings.model_name"): [m.id for m in found],
        t("settings.model_type"): [m.model_type or t("common.none") for m in found],
        t("settings.model_parameters"): [show_count(m.parameters or None) for m in found],
        t("settings.model_size"): [show_bytes(m.size_bytes or None) for m in found],
        t("settings.model_state"): [describe(m.problem) if m.problem else t("settings.model_usable") for m in found],
    }
    st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch")


def draw_computer() -> None:
    """Draw device, memory, disk and versions."""
    now = system.status(services())
    if now.device == "cpu" and now.blas == "reference":
        st.warning(t("settings.blas_hint"), icon=":material/speed:")
    tiles = (
        (t("settings.device"), t(f"settings.device_{now.device}")),
        (t("settings.blas"), t(f"settings.blas_{now.blas}")),
        (t("settings.memory"), t("common.of", part=show_bytes(now.memory_available_bytes), whole=show_bytes(now.memory_total_bytes))),
        (t("settings.disk"), show_bytes(now.disk_free_bytes)),
    )
    for pair in (tiles[:2], tiles[2:]):
        for place, (label, value) in zip(st.columns(2), pair, strict=True):
            place.metric(label, value, border=True, height="stretch")
    versions = " · ".join(f"{name} {number}" for name, number in now.versions.items() if number)
    lines = (f"{t('settings.chip')}: {now.chip}", f"{t('settings.memory_process')}: {show_bytes(now.process_memory_bytes)}",
             f"{t('settings.data_dir')}: `{now.data_dir}`", f"{t('settings.versions')}: Python {now.python} · {versions}")  # fmt: skip
    st.markdown("\n".join(f"- {line}" for line in lines))


st.title(t("settings.title"))
draw_form()
st.markdown(f"##### {t('settings.models')}")
draw_models()
st.markdown(f"##### {t('settings.computer')}")
draw_computer()
