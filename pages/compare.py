"""Compare: one question, the answers of a base and of its adapters side by side."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from tunesmith.inference.sampling import Sampling
from tunesmith.services import compare
from tunesmith.services.adapters import AdapterInfo, why_not_one_base
from tunesmith.settings.files import from_mapping
from tunesmith.ui.answers import draw_answers, draw_history
from tunesmith.ui.forms import draw_fields
from tunesmith.ui.frame import link_to
from tunesmith.ui.messages import guarded
from tunesmith.ui.run_titles import run_titles
from tunesmith.ui.session import services, t


def draw_choice(choices: dict[str, AdapterInfo]) -> list[AdapterInfo]:
    """Draw the choice of adapters, all of the first one's base; the address may name one, else it is the newest."""
    wanted = st.query_params.get("run")
    first = wanted if wanted in choices else next(iter(choices))
    key = f"compare_adapters-{first}"
    chosen = [choices[i] for i in st.session_state.get(key, [first]) if i in choices]
    offered = [i for i, info in choices.items() if not chosen or why_not_one_base([chosen[0], info]) is None]
    titles = run_titles(list(choices.values()))
    shown = st.multiselect(
        t("compare.pick"), offered, default=[first], key=key, max_selections=compare.MOST_ADAPTERS, format_func=lambda i: titles[i],
        help=t("compare.pick_help", most=compare.MOST_ADAPTERS), placeholder=t("fusion.adapters_placeholder"),
    )  # fmt: skip
    return [choices[i] for i in shown]


def draw_questions(ids: Sequence[str]) -> tuple[str, bool]:
    """Draw suggestions and the question; return it and whether to ask now."""
    suggestions = compare.suggested_prompts(services(), ids)
    if suggestions:
        key = f"suggestion-{'-'.join(ids)}"
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
        values |= draw_fields(Sampling(), "sampling", advanced=True, options={}, columns=4)
    return system, from_mapping(Sampling, values)


st.title(t("compare.title"))
st.write(t("compare.intro"))
found = {info.id: info for info in compare.variants(services())}
if not found:
    st.info(t("compare.empty"), icon=":material/info:")
    link_to("home", t("compare.to_home"))
    st.stop()
adapters = draw_choice(found)
if not adapters:
    st.caption(t("compare.choose_one"))
    st.stop()
ids = [info.id for info in adapters]
question, ask_now = draw_questions(ids)
system_prompt, how = draw_options()
if ask_now:
    headings = [f"{t('compare.base')} · {adapters[0].model}", *(f"{t('compare.tuned')} · {info.name}" for info in adapters)]
    with guarded():
        draw_answers(question, compare.ask(services(), ids, question, system_prompt, how), headings)
draw_history(skip_first=ask_now)
