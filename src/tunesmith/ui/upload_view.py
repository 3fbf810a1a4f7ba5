"""A model from a person's own computer: its name, its files, how far they are, and what became of them. Knows the service of uploads.

The files go to the API by the browser: Streamlit's own upload holds a file in the server's memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.services import model_hub, model_uploads
from tunesmith.ui.figures import show_bytes
from tunesmith.ui.hub_view import draw_arrived
from tunesmith.ui.job_view import draw_jobs
from tunesmith.ui.messages import show_error
from tunesmith.ui.session import language, services, t

_ASSETS = Path(__file__).parent / "assets"
ENDINGS = (".zip", ".safetensors", ".json", ".jinja", ".model", ".txt", ".md")
WORDS = ("choose", "send", "cancel", "chosen", "sending", "passed_over", "broken")


@st.cache_resource(show_spinner=False)
def _component() -> Any:
    return st.components.v2.component(
        "tunesmith_upload",
        html=(_ASSETS / "upload.html").read_text(encoding="utf-8"),
        css=(_ASSETS / "upload.css").read_text(encoding="utf-8"),
        js=(_ASSETS / "upload.js").read_text(encoding="utf-8"),
        isolate_styles=False,
    )


def draw_upload() -> None:
    """Draw the way from a person's own computer, and what came by it."""
    with st.expander(t("model_upload.title"), icon=":material/upload:"):
        most = model_uploads.most_bytes(services())
        if most:
            _draw_form(most)
        else:
            st.info(t("model_upload.off"), icon=":material/upload_file:")
    draw_jobs((model_uploads.KIND,), draw_arrived)


def _draw_form(most: int) -> None:
    st.caption(t("model_upload.text", most=show_bytes(most), free=show_bytes(model_hub.free_bytes(services()))))
    locked = services().read_only
    name = typed = st.text_input(t("model_upload.name"), help=t("model_upload.name_help"), disabled=locked, key="upload-name").strip()
    if name:
        try:
            model_uploads.check_name(services(), name)
        except UserError as error:
            show_error(error)
            name = ""
    elif not locked:
        st.caption(t("model_upload.name_first"))
    address = "/api/models?" + urlencode({"name": name})
    words = {key: t(f"model_upload.{key}") for key in WORDS} | {"too_large": t("model_upload.too_large", most=show_bytes(most))}
    data = {
        "address": address, "name": typed, "locked": locked or not name, "most_bytes": most, "endings": ENDINGS, "lang": language(),
        "words": words,
    }  # fmt: skip
    _component()(key="model-upload", data=data, on_job_change=_forget_name)
    with st.popover(t("model_upload.by_command"), icon=":material/terminal:"):
        st.caption(t("model_upload.by_command_text"))
        st.code(f'curl -H "Authorization: Bearer $TOKEN" -F file=@model.zip "$URL{address}"', language="bash", wrap_lines=True)


def _forget_name() -> None:
    st.session_state["upload-name"] = ""
