"""People: who is here, the ways in, what was done. Knows the services of people and rights; only admins see it."""

from __future__ import annotations

import functools
from typing import Any

import pandas as pd
import streamlit as st

from tunesmith.access.codes import make_code
from tunesmith.access.people import ADMIN, ROLES, Person
from tunesmith.i18n.markdown import as_text
from tunesmith.services import people, rights
from tunesmith.services.people import Ways
from tunesmith.ui.dialogs import ask_delete
from tunesmith.ui.downloads import draw_download
from tunesmith.ui.figures import show_time
from tunesmith.ui.messages import guarded, toast
from tunesmith.ui.session import door, services, t

SHOWN_LINES = 200
TOKEN = "people-token"  # noqa: S105 a key of the session


def draw_people() -> None:
    """Draw who is here, codes, tokens, the identity provider, and the log."""
    if not services().person.may(ADMIN):
        st.caption(t("people.admins_only"))
        return
    ways = people.ways_in(services())
    if not door().open_to_network:
        st.info(t("people.shut"), icon=":material/lock:")
    else:
        _draw_visits()
    _draw_codes(ways)
    _draw_programs(ways.programs)
    with st.container(border=True):
        st.subheader(t("people.log"))
        with guarded():
            _draw_log()


@st.fragment(run_every=10.0)
def _draw_visits() -> None:
    with st.container(border=True), guarded():
        st.subheader(t("people.here"))
        found = people.who_is_here(services(), door().visits)
        table = {
            t("people.name"): [visit.name for visit in found],
            t("people.role"): [t(f"role.{visit.role}") for visit in found],
            t("people.by"): [t("people.program") if visit.program else t("people.tabs", n=visit.tabs) for visit in found],
            t("people.since"): [show_time(visit.first_at) for visit in found],
            t("people.last"): [show_time(visit.last_at) for visit in found],
        }
        st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch")
        st.caption(t("people.here_help"))


def _draw_codes(ways: Ways) -> None:
    with st.container(border=True):
        st.subheader(t("people.codes"))
        if ways.provider:
            st.caption(t("people.provider" if ways.provider.codes else "people.provider_alone", provider=ways.provider.name))
        for role in ROLES:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{t(f'role.{role}')}** · {t(f'role.may_{role}')}")
                if st.button(t("people.reveal"), key=f"reveal-{role}", icon=":material/visibility:", width="content"):
                    _reveal(role)
                if st.button(t("people.renew"), key=f"renew-{role}", icon=":material/autorenew:", width="content"):
                    _ask_to_renew(role, make_code())


def _reveal(role: str) -> None:
    code = people.reveal_code(services(), role)

    @st.dialog(t("people.code_of", role=t(f"role.{role}")))
    def show() -> None:
        st.code(code, language=None)
        st.caption(t("people.code_help"))

    show()


def _ask_to_renew(role: str, code: str) -> None:
    """Show the new code before it counts: whoever renews it must enter again too."""

    @st.dialog(t("people.renew_title", role=t(f"role.{role}")))
    def ask() -> None:
        with guarded():
            st.code(code, language=None)
            st.write(t("people.renew_text"))
            if st.button(t("people.renew_now"), type="primary"):
                people.change_code(services(), role, code)
                st.rerun()

    ask()


def _draw_programs(programs: list[Person]) -> None:
    with st.container(border=True):
        st.subheader(t("people.programs"))
        st.caption(t("people.programs_text"))
        for person in programs:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{as_text(person.name)}** · {t(f'role.{person.role}')}")
                if st.button(t("people.drop"), key=f"drop-{person.role}-{person.name}", icon=":material/delete:", width="content"):
                    ask_delete(t("people.drop_ask", name=as_text(person.name)), functools.partial(_drop, person.name))
        if made := st.session_state.get(TOKEN):
            st.success(t("people.token_made", name=as_text(made[0])), icon=":material/key:")
            st.code(made[1], language=None)
            if st.button(t("people.token_noted"), icon=":material/check:"):
                del st.session_state[TOKEN]
                st.rerun()
        with st.form("people-token-form", clear_on_submit=True, border=False):
            left, right = st.columns(2)
            name = left.text_input(t("people.token_name"), max_chars=40, help=t("people.token_name_help"))
            role = right.selectbox(t("people.role"), ROLES, format_func=lambda each: t(f"role.{each}"), help=t("people.token_role_help"))
            if st.form_submit_button(t("people.token_add"), icon=":material/add:"):
                with guarded():
                    st.session_state[TOKEN] = (name, people.add_token(services(), name, str(role)))
                    st.rerun()


def _drop(name: str) -> None:
    people.drop_tokens(services(), name)
    toast(t("people.dropped", name=as_text(name)))


def _draw_log() -> None:
    st.caption(t("people.log_text", n=SHOWN_LINES))
    wanted = st.text_input(t("people.log_search"), key="people-search", help=t("people.log_search_help")).strip().casefold()
    lines = [_as_row(line) for line in rights.audit(services(), SHOWN_LINES)]
    shown = [row for row in lines if wanted in " ".join(row).casefold()]
    headings = [t(f"people.{name}") for name in ("at", "name", "role", "action", "facts")]
    st.dataframe(pd.DataFrame(shown, columns=headings), hide_index=True, width="stretch", height="content" if len(shown) < 8 else 320)
    draw_download(t("people.log_download"), rights.audit_file, "audit.jsonl")


def _as_row(line: dict[str, Any]) -> list[str]:
    role = str(line.get("role", ""))
    facts = line.get("facts") or {}
    told = ", ".join(f"{name}={value}" for name, value in facts.items()) if isinstance(facts, dict) else ""
    return [
        show_time(float(line.get("at", 0))), str(line.get("person", "")) or t("people.nobody"), t(f"role.{role}") if role in ROLES else "",
        str(line["action"]), told,
    ]  # fmt: skip
