"""The comparison on the screen and those before: open, carry away, delete, bring back. Knows the compare service."""

from __future__ import annotations

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.i18n.markdown import as_text
from tunesmith.services import compare
from tunesmith.services.variants import VariantInfo, find_variant
from tunesmith.store.comparisons import Comparison, Heading
from tunesmith.ui.answers import View, draw_round
from tunesmith.ui.compare_panel import WITH_BASE, ask_again_as, choose_again
from tunesmith.ui.downloads import draw_download
from tunesmith.ui.figures import show_count, show_time
from tunesmith.ui.messages import show_error, toast
from tunesmith.ui.session import lock_of, services, t
from tunesmith.ui.variant_choice import variant_titles

SHOWN, ASKING, TRASHED = "compare_shown", "compare_asking", "compare_trashed"
ADDRESS, BEGUN = "comparison", "compare_begun"
SHORT = 90
NEWEST_ROUNDS = 20


def present() -> Comparison | None:
    """Return the comparison on the screen: what was just asked, even if it was stopped, else the address's."""
    if asking := st.session_state.pop(ASKING, None):
        asking.stop()  # Streamlit draws anew in another thread, before the interrupted one has ended
        if asking.comparison.rounds:
            show(asking.comparison, asking.kept)
    wanted = st.query_params.get(ADDRESS)
    _begin_what_the_address_names()
    known: Comparison | None = st.session_state.get(SHOWN)
    if wanted and (known is None or known.id != wanted):
        try:
            known = compare.open_comparison(services(), wanted)
            choose_again(compare.panel_of(known))
            ask_again_as(known)
        except UserError as error:
            show_error(error)
            known = None
        show(known)
    return known


def _begin_what_the_address_names() -> None:
    """Choose whom the address names (`variants` by keys, `run` an adapter by its id); who is gone is told."""
    keys = [key for key in st.query_params.get("variants", "").split(",") if key]
    keys += [f"adapter:{run}" for run in [st.query_params.get("run")] if run]
    if ADDRESS in st.query_params or keys == st.session_state.get(BEGUN):
        return
    st.session_state[BEGUN] = keys
    if keys:
        st.session_state.pop(SHOWN, None)
        choose_again([each for key in keys for each in _found(key)])
        st.session_state[WITH_BASE] = True


def _found(key: str) -> list[VariantInfo]:
    try:
        return [find_variant(services(), key)]
    except UserError as error:
        show_error(error)
        return []


def show(comparison: Comparison | None, kept: bool = True) -> None:
    """Put a comparison on the screen and, where it is kept, into the address; or take it away."""
    if comparison is None:
        st.session_state.pop(SHOWN, None)
    else:
        st.session_state[SHOWN] = comparison
    if comparison and kept:
        st.query_params[ADDRESS] = comparison.id
    else:
        st.query_params.pop(ADDRESS, None)


def draw_present(comparison: Comparison, view: View) -> None:
    """Draw the rounds of a comparison in their order; of very many the last."""
    panel = compare.panel_of(comparison)
    for told in comparison.rounds[-NEWEST_ROUNDS:]:
        draw_round(told, panel, view)
    if len(comparison.rounds) > NEWEST_ROUNDS:
        st.caption(t("compare.history_more", n=NEWEST_ROUNDS, all=show_count(len(comparison.rounds))))


def draw_actions(comparison: Comparison) -> None:
    """Draw the ways on from a comparison: a new one, its files."""
    titles = list(variant_titles(compare.panel_of(comparison)).values())
    if st.button(t("compare.new"), icon=":material/add_comment:"):
        show(None)
        st.rerun()
    name = f"comparison-{comparison.id}"
    draw_download("JSONL", lambda _: compare.as_jsonl(comparison, titles), f"{name}.jsonl")
    draw_download("Markdown", lambda _: compare.as_markdown(comparison, titles), f"{name}.md")


def draw_history() -> None:
    """Draw the comparisons before, newest first, and the way to bring back what was just thrown away."""
    st.markdown(f"##### {t('compare.history')}")
    _draw_undo()
    entries, broken = compare.history(services())
    if broken:
        st.warning(t("compare.unreadable", names=", ".join(broken)), icon=":material/broken_image:")
    if services().read_only:
        st.caption(t("compare.history_not_kept"))
    elif not entries:
        st.caption(t("compare.history_empty"))
    for entry in entries:
        _draw_entry(entry)
    count = compare.count_history(services()) - len(broken)
    if count > len(entries):
        st.caption(t("compare.history_more", n=len(entries), all=show_count(count)))


def _draw_entry(entry: Heading) -> None:
    names = ", ".join(variant_titles(compare.panel_of(entry)).values())
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        with st.container():
            st.text(_name(entry))
            st.caption(t("compare.history_entry", time=show_time(entry.created_at), names=as_text(names)))
        if st.button(t("common.open"), key=f"open-{entry.id}", icon=":material/open_in_full:", width="content"):
            st.session_state.pop(SHOWN, None)
            st.query_params[ADDRESS] = entry.id
            st.rerun()
        if st.button(t("common.delete"), key=f"delete-{entry.id}", icon=":material/delete:", **lock_of(entry.owner)):
            _trash(entry)


def _name(entry: Heading) -> str:
    question = " ".join(entry.question.split()) or "–"
    short = question if len(question) <= SHORT else question[:SHORT] + "…"
    return t("compare.history_questions", question=short, more=entry.questions - 1) if entry.questions > 1 else short


def _trash(entry: Heading) -> None:
    compare.delete(services(), entry.id)
    if st.query_params.get(ADDRESS) == entry.id:
        show(None)
    st.session_state[TRASHED] = entry.id, _name(entry)
    st.rerun()


def _draw_undo() -> None:
    if trashed := st.session_state.get(TRASHED):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(t("compare.trashed", name=as_text(trashed[1])), icon=":material/delete:")
            if st.button(t("common.undo"), icon=":material/undo:", key="compare-undo"):
                del st.session_state[TRASHED]
                compare.restore(services(), trashed[0])
                toast(t("compare.restored", name=as_text(trashed[1])))
                st.rerun()
