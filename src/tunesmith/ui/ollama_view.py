"""Ollama's models on the page: which are there, a test question, taking ours away. Knows the Ollama service."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from tunesmith.services import ollama
from tunesmith.ui.dialogs import ask_delete
from tunesmith.ui.figures import show_bytes, show_number
from tunesmith.ui.session import services, t


def draw_ollama() -> None:
    """Draw the models in Ollama and what can be done with one."""
    st.caption(t("ollama.intro", url=services().settings.ollama_url))
    found = ollama.models(services())
    if not found:
        st.info(t("ollama.none"), icon=":material/info:")
        return
    table = {
        t("ollama.name"): [row.name for row in found],
        t("adapters.size"): [show_bytes(row.size_bytes) for row in found],
        t("ollama.made"): [t("ollama.by_us") if row.ours else "" for row in found],
    }
    st.dataframe(pd.DataFrame(table), hide_index=True, width="content")
    names = {row.name: row for row in found}
    name = st.selectbox(t("ollama.name"), list(names), key="ollama_model")
    with st.form("ollama-ask", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        question = st.text_input(t("compare.prompt"), key="ollama_question")
        asked = st.form_submit_button(t("compare.ask"), type="primary", icon=":material/send:")
    if asked:
        with st.spinner(t("compare.waiting")):
            answer = ollama.ask(services(), str(name), question)
        with st.container(border=True):
            st.markdown(answer.text.strip() or t("ollama.silent"))
            st.caption(t("ollama.took", tokens=answer.tokens, seconds=show_number(answer.seconds, 2)))
    if names[str(name)].ours:
        if st.button(t("common.delete"), icon=":material/delete:", disabled=services().read_only):
            ask_delete(t("ollama.delete_ask", name=name), lambda: ollama.remove(services(), str(name)))
    else:
        st.caption(t("ollama.not_ours"))
