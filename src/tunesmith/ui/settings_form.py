"""The forms of the app's own settings: a person's own, and those for everybody. Knows the system service."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime, time
from functools import partial
from typing import Any

import streamlit as st

from tunesmith.access.people import ADMIN
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import LANGUAGES, field_words
from tunesmith.jobs.queue import parse_quiet_hours
from tunesmith.services import exports, system
from tunesmith.settings.schema import AppSettings
from tunesmith.ui.dialogs import ask_first
from tunesmith.ui.forms import draw_field, show_choice
from tunesmith.ui.messages import show_error, toast
from tunesmith.ui.preferences import keep_preference, preference
from tunesmith.ui.session import choose_language, language, services, t

GROUPS = tuple(dict.fromkeys(f.metadata["group"] for f in dataclasses.fields(AppSettings) if f.metadata["kind"] != "hidden"))
RESET = ":material/restart_alt:"
THEMES = ("auto", "light", "dark")


def draw_settings_form() -> None:
    """Draw what each may choose, and below what an admin sets for all."""
    _draw_own()
    st.markdown(f"#### {t('settings.for_all')}")
    allowed = services().person.may(ADMIN)
    if not allowed:
        st.caption(t("settings.admins_only"))
    locked = not allowed or services().read_only
    prefix = f"settings{st.session_state.get('settings_generation', 0)}"
    drawn = _drawn_with(prefix)
    values: dict[str, Any] = {}
    spots: dict[str, Any] = {}
    with st.form(prefix, border=False):
        for group in GROUPS:
            with st.container(border=True):
                values |= _draw_group(drawn, group, prefix, spots)
                if st.form_submit_button(t("settings.reset"), key=f"reset-{group}", type="tertiary", icon=RESET, disabled=locked):
                    question = t("settings.reset_ask", group=t(f"settings.group_{group}"))
                    ask_first(t("settings.reset"), question, partial(_reset, group))
        if st.form_submit_button(t("common.save"), type="primary", disabled=locked):
            _save({name: value for name, value in values.items() if value != getattr(drawn, name)}, spots)


def _drawn_with(prefix: str) -> AppSettings:
    """Return the settings that the form shows: to save it is not to take back what another admin or tab has changed since."""
    if not any(str(key).startswith(f"{prefix}.") for key in st.session_state):
        st.session_state["settings_drawn"] = services().settings
    drawn: AppSettings = st.session_state["settings_drawn"]
    return drawn


def _draw_own() -> None:
    st.markdown(f"#### {t('settings.for_you')}")
    with st.container(border=True):
        left, right = st.columns(2)
        lang, lang_before = _choose_own(left, "language", LANGUAGES)
        theme, theme_before = _choose_own(right, "theme", THEMES)
    if lang != lang_before:
        choose_language(lang)
        st.session_state.pop("sidebar_language", None)
    if theme != theme_before:
        keep_preference("theme", theme)
    if (lang, theme) != (lang_before, theme_before):
        st.rerun()


def _choose_own(place: Any, name: str, known: Sequence[str]) -> tuple[str, str]:
    """Draw the choice of a preference; return what is chosen now, and what was before."""
    values, before = ["", *known], preference(name)
    before = before if before in values else ""
    chosen = place.selectbox(
        t(f"settings.own_{name}"), values, index=values.index(before), help=t("settings.own_help"),
        format_func=lambda value: show_choice(value, name) if value else t("settings.as_app"),
    )  # fmt: skip
    return str(chosen), before


def _draw_group(drawn: AppSettings, group: str, prefix: str, spots: dict[str, Any]) -> dict[str, Any]:
    """Draw a group's fields, each with a place for what is wrong with it; return their values."""
    st.markdown(f"**{t(f'settings.group_{group}')}**")
    values: dict[str, Any] = {}
    places = st.columns(2)
    for number, field in enumerate(system.fields_of(group)):
        with places[number % 2]:
            now = getattr(drawn, field.name)
            if field.metadata["kind"] == "hours":
                values[field.name] = _draw_hours(field, now, f"{prefix}.{field.name}")
            else:
                values[field.name] = draw_field(drawn, field, prefix, {})
            if said := _note(field):
                st.caption(said)
            spots[field.name] = st.container()
    return values


def _note(field: dataclasses.Field[Any]) -> str:
    """Return what is said below a field: what is in use, and when a change counts."""
    in_use = {"data_folder": services().data_dir, "exports_folder": exports.exports_folder(services())}
    said = [t("settings.in_use", value=f"`{in_use[field.name]}`")] if field.name in in_use else []
    return " ".join([*said, *([t("settings.restart")] if field.metadata["restart"] else [])])


def _draw_hours(field: dataclasses.Field[Any], now: str, key: str) -> str:
    """Draw a span of the day as two times; both empty is none."""
    label, help_text = field_words("AppSettings", field, language())
    st.markdown(label, help=help_text)
    try:
        hours = parse_quiet_hours(now) or (None, None)
    except UserError as error:  # written by hand
        show_error(error)
        hours = (None, None)
    left, right = st.columns(2)
    begin = left.time_input(t("settings.hours_from"), value=hours[0], key=f"{key}.from", step=900)
    end = right.time_input(t("settings.hours_to"), value=hours[1], key=f"{key}.to", step=900)
    clock = datetime.now().strftime("%H:%M")
    st.caption(t("settings.quiet_now", clock=clock) if now and system.is_quiet_now(services()) else t("settings.quiet_not", clock=clock))
    return f"{_clock(begin)}-{_clock(end)}" if begin or end else ""


def _clock(moment: time | None) -> str:
    return moment.strftime("%H:%M") if moment else ""


def _save(changes: Mapping[str, Any], spots: Mapping[str, Any]) -> None:
    """Save, or say beside each field what is wrong with it."""
    if problems := system.check_settings(services(), changes):
        for name, problem in problems.items():
            with spots[name]:
                show_error(problem)
        st.warning(t("settings.not_saved"), icon=":material/error:")
        return
    try:
        system.save_settings(services(), **changes)
    except UserError as error:
        show_error(error)
        return
    restart = any(field.metadata["restart"] for field in dataclasses.fields(AppSettings) if field.name in changes)
    _draw_anew(t("settings.saved_restart") if restart else t("settings.saved"))
    st.rerun()


def _reset(group: str) -> None:
    system.reset_settings(services(), group)
    _draw_anew(t("settings.saved"))


def _draw_anew(words: str) -> None:
    """Draw the widgets with what is saved: new keys, since a browser keeps the old ones' values."""
    st.session_state["settings_generation"] = st.session_state.get("settings_generation", 0) + 1
    toast(words)
