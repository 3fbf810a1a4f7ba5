"""Compare: one question, or a conversation, or a whole set; the answers of many variants side by side, and all that was asked before."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.inference.sampling import Sampling
from tunesmith.services import compare
from tunesmith.services.compare import Asking
from tunesmith.services.variants import VariantInfo, list_variants
from tunesmith.ui.answers import draw_asking, draw_view
from tunesmith.ui.compare_history import ASKING, draw_actions, draw_history, draw_present, present
from tunesmith.ui.compare_panel import draw_how, draw_panel
from tunesmith.ui.compare_sets import draw_keep, draw_sets
from tunesmith.ui.frame import link_to
from tunesmith.ui.messages import guarded
from tunesmith.ui.session import services, t


def draw_questions(panel: Sequence[VariantInfo], following: bool) -> tuple[str, bool, bool]:
    """Draw suggestions and the question; return it, whether to ask it now, and whether as a follow-up."""
    if suggestions := compare.suggested_prompts(services(), panel):
        key = f"suggestion-{'-'.join(each.key for each in panel)}"
        st.pills(t("compare.suggestions"), suggestions, key=key, on_change=use_suggestion, args=(key,))
    with st.form("ask", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        prompt = st.text_area(t("compare.prompt"), key="compare_prompt", height=80)
        asked = st.form_submit_button(t("compare.ask"), type="primary", icon=":material/send:", disabled=not panel)
        followed = following and st.form_submit_button(t("compare.follow_up"), icon=":material/reply:", help=t("compare.follow_up_help"))
    return prompt, asked or st.session_state.pop("compare_now", False), followed


def use_suggestion(key: str) -> None:
    """Put a suggestion in the question's place and ask it."""
    if chosen := st.session_state.get(key):
        st.session_state["compare_prompt"] = chosen
        st.session_state["compare_now"] = True


def ask_now(asking: Asking) -> None:
    """Let the answers grow on the screen, then draw them as they are kept: also when a click ends them early."""
    st.session_state[ASKING] = asking
    stop = st.empty()
    stop.button(t("compare.stop"), icon=":material/stop_circle:")
    try:
        draw_asking(asking)
    except UserError:
        stop.empty()
        raise
    st.rerun()


st.title(t("compare.title"))
st.write(t("compare.intro"))
found = list_variants(services())
if not any(each.kind == "adapter" for each in found):
    st.info(t("compare.empty"), icon=":material/info:")
    link_to("home", t("compare.to_home"))
shown = present()
panel: list[VariantInfo] = []
with guarded():
    panel = draw_panel([each.key for each in found[:1]])
how: tuple[str, Sampling] | None = None
with guarded():
    how = draw_how()
from_set = draw_sets(can_ask=bool(panel and how))
question, begins, follows = draw_questions(panel if how else [], following=bool(shown and how))
asking: Asking | None = None
with guarded():
    if how and follows and shown:
        asking = compare.follow_up(services(), shown, question, *how)
    elif how and (from_set or (begins and panel)):
        asking = compare.ask(services(), panel, from_set or [question], *how)
view = draw_view()
with guarded():
    if shown and (follows or not asking):
        draw_present(shown, view)
    if asking:
        ask_now(asking)
    elif shown:
        with st.container(horizontal=True):
            draw_actions(shown)
            draw_keep(shown)
with guarded():
    draw_history()
