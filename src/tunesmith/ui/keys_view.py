"""The keys of people: which are set, set or replace one, remove one. Knows the keys service; holds no key longer than one press."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from tunesmith.access.people import ADMIN
from tunesmith.errors import UserError
from tunesmith.services import keys
from tunesmith.services.keys import KnownKey
from tunesmith.system.secrets import ENVIRONMENT, HUB, check_key_name
from tunesmith.ui.dialogs import ask_delete
from tunesmith.ui.messages import guarded, toast
from tunesmith.ui.session import services, t

NAME, TURN = "keys-name", "keys-turn"


def draw_keys() -> None:
    """Draw the known keys and, for admins, the form that changes them."""
    s = services()
    found = keys.list_keys(s)
    st.caption(t("keys.text"))
    _draw_table(found, s.person.may(ADMIN))
    if not s.person.may(ADMIN):
        st.caption(t("settings.admins_only"))
        return
    with st.expander(t("keys.order"), icon=":material/sort:"):
        st.markdown(t("keys.order_text"))
    name = st.selectbox(
        t("keys.name"), [key.name for key in found], accept_new_options=True, help=t("keys.name_help"), key=NAME
    )  # fmt: skip
    check_key_name(name or "")
    _draw_form(next((key for key in found if key.name == name), None) or keys.find_key(s, name))


def _draw_table(found: list[KnownKey], with_places: bool) -> None:
    table = {
        t("keys.name"): [key.name for key in found],
        t("keys.state"): [t("keys.set") if key.is_set else t("keys.unset") for key in found],
        t("keys.hosts"): [", ".join([t("keys.hub")] * (key.name == HUB) + [*key.hosts]) or t("common.none") for key in found],
        t("keys.asked_by"): [", ".join(key.asked_by) or t("common.none") for key in found],
    }
    if with_places:
        table[t("keys.place")] = [" → ".join(t(f"keys.place_{place}") for place in key.places) or t("common.none") for key in found]
        table[t("keys.end")] = [f"…{key.last_four}" if key.last_four else t("common.none") for key in found]
    st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch")


def _draw_form(key: KnownKey) -> None:
    turn = st.session_state.setdefault(TURN, 0)
    field, hosts = f"keys-value-{key.name}-{turn}", f"keys-hosts-{key.name}-{turn}"
    with st.form("keys"):
        st.text_input(t("keys.value"), type="password", help=t("keys.value_help"), placeholder=t("keys.value_form"), key=field)
        if ENVIRONMENT in key.places:
            st.caption(t("keys.environment_first", name=key.name))
        suggested = key.hosts or (() if key.name == HUB else key.asked_by)
        st.text_area(
            t("keys.hosts"), "\n".join(suggested), help=t("keys.hosts_hub_help" if key.name == HUB else "keys.hosts_help"),
            placeholder="api.example.com", key=hosts,
        )  # fmt: skip
        st.form_submit_button(t("common.save"), type="primary", on_click=_save, args=(key, field, hosts))
    if st.button(t("keys.remove"), disabled=not key.removable, help=t("keys.remove_help"), icon=":material/delete:"):
        ask_delete(t("keys.remove_ask", name=key.name), lambda: _remove(key.name))


def _save(key: KnownKey, field: str, hosts_field: str) -> None:
    """Keep what was typed; of a key that is set, the hosts alone when no new value was.

    The field's state is deleted and another field drawn, so that neither server nor browser holds it on. Where another key was chosen
    and the page not drawn for it yet, nothing is kept: it would be kept for the key before, and sent to that one's hosts.
    """
    value, hosts = st.session_state.pop(field), st.session_state[hosts_field].splitlines()
    st.session_state[TURN] += 1
    with guarded():
        if st.session_state[NAME] != key.name:
            raise UserError("key_chosen_meanwhile", name=key.name)
        if value or not key.is_set:
            keys.set_key(services(), key.name, value, hosts)
            toast(t("keys.saved", name=key.name))
        else:
            keys.set_hosts(services(), key.name, hosts)
            toast(t("keys.saved_hosts", name=key.name))


def _remove(name: str) -> None:
    left = keys.remove_key(services(), name)
    toast(t("keys.removed_still", name=name, place=t(f"keys.place_{left.places[0]}")) if left.places else t("keys.removed", name=name))
