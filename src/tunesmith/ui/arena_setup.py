"""Arenas: choose one, open a new one, rename, delete. Draws no answers; who takes part is named in the form for a new one alone."""

from __future__ import annotations

import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.services import arena
from tunesmith.services.variants import list_variants
from tunesmith.store.votes import ArenaRecord
from tunesmith.ui.compare_panel import draw_options
from tunesmith.ui.dialogs import ask_delete, ask_name
from tunesmith.ui.figures import show_time
from tunesmith.ui.messages import toast
from tunesmith.ui.session import lock_of, services, t
from tunesmith.ui.variant_choice import choose_variants


def choose_arena(found: list[ArenaRecord]) -> ArenaRecord:
    """Draw the choice of an arena, the one of the address at first, and what can be done with it; return it."""
    known = {record.id: record for record in found}
    asked = st.query_params.get("arena")
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    chosen = left.selectbox(
        t("arena.pick"), list(known), index=list(known).index(asked) if asked in known else 0,
        format_func=lambda each: f"{known[each].name} · {show_time(known[each].created_at)}",
    )  # fmt: skip
    if chosen != asked:
        st.query_params["arena"] = chosen
    record, lock = known[chosen], lock_of(known[chosen].owner)
    with right.container(horizontal=True, horizontal_alignment="right"):
        if st.button(t("common.rename"), icon=":material/edit:", **lock):
            ask_name(t("arena.name"), record.name, lambda name: arena.rename(services(), record.id, name))
        if st.button(t("common.delete"), icon=":material/delete:", **lock):
            ask_delete(t("arena.delete_ask", name=as_text(record.name)), lambda: _trash(record))
    return record


def _trash(record: ArenaRecord) -> None:
    arena.trash(services(), record.id)
    st.session_state["arena_trashed"] = (record.id, record.name)


def draw_undo() -> None:
    """Offer to bring back the arena that was just deleted."""
    if trashed := st.session_state.get("arena_trashed"):
        arena_id, name = trashed
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(t("experiments.trashed", name=as_text(name)), icon=":material/delete:")
            if st.button(t("common.undo"), icon=":material/undo:"):
                del st.session_state["arena_trashed"]
                arena.restore(services(), arena_id)
                toast(t("experiments.restored", name=as_text(name)))
                st.rerun()


def draw_new(number: int) -> None:
    """Draw the form for a new arena, the `number`th, and open it."""
    offered = list_variants(services())
    name = st.text_input(
        t("arena.name"), t("arena.default_name", number=number), max_chars=200, help=t("arena.name_help"), key="arena_new_name"
    )
    variants = choose_variants(
        t("arena.variants"), "arena_new_variants", [each.key for each in offered[:2]], arena.MOST_VARIANTS, checkpoints=True
    )
    most = min(arena.MOST_AT_ONCE, len(variants))
    at_once = most
    if most > arena.LEAST_VARIANTS:
        at_once = st.number_input(
            t("arena.at_once"), arena.LEAST_VARIANTS, most, most, help=t("arena.at_once_help"), key=f"arena_new_at_once-{most}"
        )
    system, sampling = draw_options("arena_new")
    ready = len(variants) >= arena.LEAST_VARIANTS
    if not ready:
        st.caption(t("arena.choose_two"))
    if st.button(t("arena.create"), type="primary", icon=":material/add:", disabled=not ready or services().read_only):
        record = arena.create(services(), name, variants, at_once, system, sampling)
        toast(t("arena.created", name=as_text(record.name)))
        st.query_params.from_dict({"arena": record.id})
        st.rerun()
