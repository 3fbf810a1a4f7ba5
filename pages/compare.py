"""Compare: one question, the base's and the tuned model's answer side by side."""

from __future__ import annotations

import streamlit as st

from tunesmith.inference.sampling import Sampling
from tunesmith.services import compare
from tunesmith.settings.files import from_mapping
from tunesmith.ui.answers import draw_answers, draw_history
from tunesmith.ui.forms import draw_fields
from tunesmith.ui.frame import link_to
from tunesmith.ui.messages import guarded
from tunesmith.ui.run_titles import run_titles
from tunesmith.ui.session import services, t


def draw_questions(run_id: str) -> tuple[str, bool]:
    """Draw suggestions and the question; return it and whether to ask now."""
    suggestions = compare.suggested_prompts(services(), run_id)
    if suggestions:
        key = f"suggestion-{run_id}"
        st.pills(t("compare.suggestions"), suggestions, key=key, on_change=use_suggestion, args=(key,))
    with st.form("ask", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        prompt = st.text_input(t("compare.prompt"), key="compare_prompt")
        asked = st.form_submit_button(t("compare.ask"), type="primary", icon=":material/send:")
    return prompt, asked or st.session_state.pop("compare_now", False)


def use_suggestion(key: str) -> None:
    """Put a suggestion in the question's place and ask it."""
    if chosen := st.session_state.get(key):
        st.session_state["compare_prompt"] = chosen
        st.session_state["compare_now"] = True


def draw_options() -> tuple[str, Sampling]:
    """Draw system prompt and sampling; return both."""
    with st.expander(t("compare.sampling"), icon=":material/tune:"):
        system = st.text_area(t("compare.system"), key="compare_system", height=80)
        values = draw_fields(Sampling(), "sampling", advanced=False, options={}, columns=4)
    return system, from_mapping(Sampling, values)


st.title(t("compare.title"))
st.write(t("compare.intro"))
choices = {choice.id: choice for choice in compare.variants(services())}
if not choices:
    st.info(t("compare.empty"), icon=":material/info:")
    link_to("home", t("compare.to_home"))
    st.stop()
wanted = st.query_params.get("run")
titles = run_titles(list(choices.values()))
run = st.selectbox(
    t("compare.pick"), list(choices), index=list(choices).index(wanted) if wanted in choices else 0,
    format_func=lambda adapter_id: titles[adapter_id],
)  # fmt: skip
question, ask_now = draw_questions(run)
system_prompt, how = draw_options()
if ask_now:
    with guarded():
        draw_answers(question, compare.ask(services(), run, question, system_prompt, how), choices[run])
draw_history(skip_first=ask_now)
