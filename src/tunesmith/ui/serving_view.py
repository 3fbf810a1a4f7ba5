"""Endpoints for other programs on the page: start one, see its address, stop it. Knows the serving service."""

from __future__ import annotations

import streamlit as st

from tunesmith.access.people import ADMIN
from tunesmith.errors import UserError
from tunesmith.i18n.markdown import as_text
from tunesmith.jobs.serving import ModelServer
from tunesmith.services import serving
from tunesmith.services.exports import Source
from tunesmith.ui.export_form import draw_source
from tunesmith.ui.figures import show_time
from tunesmith.ui.messages import guarded, show_error
from tunesmith.ui.open_tabs import renewal_seconds
from tunesmith.ui.session import lock_of, services, t

LOOKS = {"ready": "green", "starting": "blue", "failed": "red", "stopped": "gray"}
REACHES = ("here", "lan")


def draw_serving(titles: dict[str, str], sources: dict[str, Source]) -> None:
    """Draw the form of a new server, and those that there are."""
    st.caption(t("serve.intro"))
    with st.container(border=True), guarded():
        _draw_form(draw_source(titles, sources))
    _draw_key()
    for server in serving.list_servers(services()):
        with st.container(border=True), guarded():
            st.fragment(_draw_server, run_every=renewal_seconds(1.0) if server.status == "starting" else None)(server.id, server.status)


def _draw_form(source: Source) -> None:
    left, middle, right = st.columns([3, 4, 2])
    name = left.text_input(t("serve.name"), value=source.name[:60], help=t("serve.name_help"), key=f"serve-{source.key}")
    reach = middle.segmented_control(
        t("serve.reach"), REACHES, default="here", format_func=lambda r: t(f"serve.reach_{r}"), help=t("serve.reach_help"),
        disabled=not services().person.may(ADMIN),
    )  # fmt: skip
    port = right.number_input(t("serve.port"), min_value=0, max_value=65535, value=0, step=1, help=t("serve.port_help"))
    try:
        if st.button(t("serve.start"), type="primary", icon=":material/play_arrow:", disabled=services().read_only):
            started = serving.start(services(), source, name, on_lan=reach == "lan", port=int(port))
            st.session_state["serving_key"] = started.key
            st.rerun()
    except UserError as error:
        show_error(error)


def _draw_key() -> None:
    """Show a new server's key once: it is kept nowhere."""
    if key := st.session_state.get("serving_key"):
        with st.container(border=True):
            st.markdown(t("serve.key_text"))
            st.code(f"export {serving.KEY_SHOWN_AS}={key}", language="bash")
            if st.button(t("serve.key_noted"), icon=":material/check:"):
                del st.session_state["serving_key"]
                st.rerun()


def _draw_server(server_id: str, status: str) -> None:
    server = serving.find(services(), server_id)
    if server.status != status:
        st.rerun()
    st.markdown(f":{LOOKS[status]}-badge[{t(f'serve.status_{status}')}] **{as_text(server.name)}** · {show_time(server.created_at)}")
    if server.error:
        show_error(server.error)
    if status == "ready":
        _draw_address(server)
    with st.container(horizontal=True):
        if status in {"ready", "starting"}:
            if st.button(t("serve.stop"), key=f"stop-{server_id}", icon=":material/stop_circle:", disabled=services().read_only):
                serving.stop(services(), server_id)
                st.rerun()
        elif st.button(t("job.forget"), key=f"forget-{server_id}", icon=":material/close:", **lock_of(server.owner)):
            serving.forget(services(), server_id)
            st.rerun()


def _draw_address(server: ModelServer) -> None:
    st.code(server.address, language=None)
    st.caption(t("serve.ask"))
    st.code(serving.how_to_ask(server), language="bash", wrap_lines=True)
