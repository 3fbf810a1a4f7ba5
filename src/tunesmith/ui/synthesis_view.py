"""Synthetic data: the form, the estimate, and the generations with their progress. Knows the synthesis service."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from tunesmith.data.synthesis import SynthesisRules
from tunesmith.errors import UserError
from tunesmith.jobs.generation import Generation
from tunesmith.services import datasets, models, synthesis
from tunesmith.system.endpoint import Endpoint
from tunesmith.ui.dataset_view import draw_conversation
from tunesmith.ui.dialogs import ask_delete
from tunesmith.ui.endpoint_form import draw_endpoint
from tunesmith.ui.figures import show_count, show_duration, show_time
from tunesmith.ui.forms import draw_fields
from tunesmith.ui.messages import describe, guarded, show_error, toast
from tunesmith.ui.open_tabs import renewal_seconds
from tunesmith.ui.session import lock_of, services, t

SHOWN_ROWS = 2
SHOWN_GENERATIONS = 10
Finish = Callable[[str], None]


def draw_synthesis(finish: Finish) -> None:
    """Draw the form and the generations; `finish` is called with the id of the data set that one was made into."""
    st.caption(t("synthesis.text"))
    kind = st.segmented_control(
        t("synthesis.source"), ("document", "seeds"), default="document", format_func=lambda name: t(f"synthesis.source_{name}"),
        key="synthesis-source",
    )  # fmt: skip
    text = st.text_area(t("synthesis.source_text"), height=160, help=t("synthesis.source_help"), key="synthesis-text")
    sources = synthesis.sources_of(text, as_document=kind != "seeds")
    st.caption(t("synthesis.pieces", count=show_count(len(sources))))
    rules = SynthesisRules(**draw_fields(SynthesisRules(), "synthesis", advanced=False, options={}, columns=3))
    endpoint, model = _draw_model()
    known = ["", *(d.id for d in datasets.list_datasets(services()) if d.rows.get("test") or d.rows.get("valid"))]
    tests = st.selectbox(
        t("synthesis.tests"),
        known,
        format_func=lambda name: name or t("common.none"),
        help=t("synthesis.tests_help"),
        key="synthesis-tests",
    )
    _draw_estimate(rules, sources, endpoint)
    if st.button(t("synthesis.start"), type="primary", icon=":material/auto_awesome:", disabled=not sources or services().read_only):
        try:
            synthesis.start(services(), rules, sources, endpoint=endpoint, model_id=model, tests=tests or "")
        except UserError as error:
            show_error(error)
        else:
            toast(t("synthesis.started"))
            st.rerun()
    _draw_generations(finish)


def _draw_model() -> tuple[Endpoint | None, str]:
    """Draw the choice of who writes; return (endpoint or None, local model's id)."""
    where = st.segmented_control(
        t("synthesis.model"), ("local", "endpoint"), default="local", format_func=lambda name: t(f"synthesis.model_{name}"),
        key="synthesis-where",
    )  # fmt: skip
    if where != "endpoint":
        found = [m.id for m in models.list_models(services()) if m.problem is None]
        return None, st.selectbox(t("synthesis.model"), found, label_visibility="collapsed", key="synthesis-model") or ""
    return draw_endpoint("synthesis"), ""


def _draw_estimate(rules: SynthesisRules, sources: list[str], endpoint: Endpoint | None) -> None:
    prices = None
    if endpoint:
        left, right = st.columns(2)
        asked = left.number_input(t("synthesis.price_in"), 0.0, 1000.0, 0.0, key="synthesis-price-in")
        answered = right.number_input(t("synthesis.price_out"), 0.0, 1000.0, 0.0, key="synthesis-price-out")
        prices = (asked, answered) if asked or answered else None
    least = synthesis.estimate(rules, sources, prices)
    numbers = {"prompt": show_count(least.prompt_tokens), "completion": show_count(least.completion_tokens)}
    words = t("synthesis.estimate", questions=show_count(least.questions), **numbers)
    st.caption(words if least.cost is None else f"{words}, {t('synthesis.cost', cost=f'{least.cost:.2f}')}")


def _draw_generations(finish: Finish) -> None:
    st.markdown(f"**{t('synthesis.list')}**")
    found = synthesis.list_generations(services())[:SHOWN_GENERATIONS]
    if not found:
        st.caption(t("synthesis.none"))
    for each in found:
        with st.container(border=True):
            if each.status == "running":
                st.fragment(_draw_running, run_every=renewal_seconds(1.0))(each.id)
            else:
                _draw_progress(each)
                _draw_ended(each, finish)


def _draw_running(generation_id: str) -> None:
    with guarded():
        found = synthesis.find_generation(services(), generation_id)
        if found.status != "running":
            st.rerun()
        _draw_progress(found)
        if st.button(t("common.cancel"), key=f"cancel-{generation_id}", icon=":material/stop:", disabled=services().read_only):
            synthesis.cancel(services(), generation_id)


def _draw_progress(found: Generation) -> None:
    kind = t(f"choice.{found.request['rules']['kind']}")
    began, status = show_time(found.request["created_at"]), t(f"synthesis.status_{found.status}")
    st.markdown(f"**{kind}** · {found.request['model_name']} · {began} · {status}")
    refused = sum(found.rejected.values())
    words = t("synthesis.progress", accepted=show_count(found.accepted), wanted=show_count(found.wanted), rejected=show_count(refused))
    if found.status == "running" and found.seconds_left is not None:
        words = f"{words} · {t('common.time_left', time=show_duration(found.seconds_left))}"
    st.progress(min(1.0, found.accepted / found.wanted), text=words)
    tokens = {"prompt": show_count(found.prompt_tokens), "completion": show_count(found.completion_tokens)}
    st.caption(t("synthesis.tokens", **tokens))
    if found.rejected:
        reasons = ", ".join(f"{t(f'synthesis.code_{code}')} {show_count(count)}" for code, count in found.rejected.items())
        st.caption(t("synthesis.refused", reasons=reasons))
    if found.error:
        st.error(describe(found.error), icon=":material/error:")


def _draw_ended(found: Generation, finish: Finish) -> None:
    if found.accepted:
        with st.expander(t("synthesis.rows")):
            for row in synthesis.first_rows(found, SHOWN_ROWS):
                draw_conversation(row)
    locked = services().read_only
    with st.container(horizontal=True):
        kept = found.accepted and st.button(
            t("synthesis.keep"), key=f"keep-{found.id}", type="primary", icon=":material/add:", disabled=locked
        )
        if found.status != "completed" and st.button(
            t("common.resume"), key=f"go-on-{found.id}", icon=":material/resume:", disabled=locked
        ):
            synthesis.resume(services(), found.id)
            st.rerun()
        if st.button(t("common.delete"), key=f"forget-{found.id}", icon=":material/delete:", **lock_of(found.owner)):
            _ask_delete(found)
    if kept:
        finish(synthesis.keep(services(), found.id, f"{found.request['rules']['kind']}-{found.id[:8]}"))


def _ask_delete(found: Generation) -> None:
    ask_delete(t("synthesis.delete_ask", count=show_count(found.accepted)), lambda: synthesis.delete(services(), found.id))
