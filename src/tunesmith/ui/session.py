"""What a page needs of its session: the services, the language, words. Knows no page."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

import streamlit as st

from tunesmith.access.gate import Door
from tunesmith.access.opening import open_door
from tunesmith.access.people import Person
from tunesmith.errors import UserError
from tunesmith.i18n import catalog
from tunesmith.i18n.markdown import as_text
from tunesmith.services import context, rights
from tunesmith.services.context import Services
from tunesmith.ui.preferences import keep_preference, preference

logger = logging.getLogger("tunesmith.door")


@st.cache_resource(show_spinner=False)
def _services() -> Services:
    return context.open_services()


@functools.cache
def door() -> Door:
    """Return this server's door. Raises UserError `secrets_readable_by_others`, `store_file_unreadable`."""
    return open_door(context.load_settings().lan_names, int(st.get_option("server.port")), _note_visit)


def _note_visit(who: Person | None, action: str, facts: Mapping[str, str]) -> None:
    try:
        rights.note_visit(context.open_services(), who, action, facts)
    except (UserError, OSError) as error:  # on a full disk people must come in, to clean up
        logger.warning("not noted: %s: %s", action, error)


def person() -> Person | None:
    """Return who sits before this page: whom the cookie of its connection names, None when that has grown old."""
    cookies = st.context.cookies if door().open_to_network else {}
    return door().person(f"{door().cookie}={cookies.get(door().cookie, '')}")


def services() -> Services:
    """Return the process's services, for who sits before this page. Raises UserError `session_over`."""
    who = person()
    if who is None:
        raise UserError("session_over")
    return _services().of(who)


def lock_of(owner: str, locked: bool = False) -> dict[str, Any]:
    """Return how a button is drawn that renames, rewrites or deletes what somebody owns: disabled, with the reason for those who may not.

    `locked`: disabled for everybody just now.
    """
    if locked or services().read_only:
        return {"disabled": True}
    return {} if rights.may_change(services(), owner) else {"disabled": True, "help": t("error.owned_by_another", owner=as_text(owner))}


def language() -> str:
    """Return the session's language: chosen here, in the address, earlier in this browser, in the settings, or the browser's."""
    allowed = (*catalog.LANGUAGES, catalog.PSEUDO)
    for candidate in (st.session_state.get("language"), st.query_params.get("lang"), preference("language"), _services().settings.language):
        if candidate in allowed:
            return str(candidate)
    return catalog.accepted_language(st.context.locale or "")


def choose_language(chosen: str) -> None:
    """Let this session and this browser use a language; an empty choice follows the settings again."""
    st.session_state["language"] = chosen
    keep_preference("language", chosen)


def t(key: str, **values: object) -> str:
    """Return words in the session's language."""
    return catalog.t(key, language(), **values)
