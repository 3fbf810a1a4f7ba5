"""Arena: variants answer without their names, people choose the better answer, and the votes tell who is stronger."""

from __future__ import annotations

import streamlit as st

from tunesmith.services import arena
from tunesmith.services.variants import list_variants
from tunesmith.store.votes import ArenaRecord
from tunesmith.ui.arena_round import draw_rounds
from tunesmith.ui.arena_setup import choose_arena, draw_new, draw_undo
from tunesmith.ui.arena_standings import draw_standings
from tunesmith.ui.frame import link_to
from tunesmith.ui.messages import guarded
from tunesmith.ui.session import services, t
from tunesmith.ui.view_choice import choose_view

VIEWS = ("vote", "standings", "new")


def draw_view(name: str, found: list[ArenaRecord]) -> None:
    """Draw a view of the page."""
    if name == "new":
        if len(list_variants(services())) < arena.LEAST_VARIANTS:
            st.info(t("arena.empty"), icon=":material/info:")
            link_to("home", t("compare.to_home"))
        else:
            draw_new(len(found) + 1)
        return
    record = choose_arena(found)
    {"vote": draw_rounds, "standings": draw_standings}[name](record)


st.title(t("arena.title"))
st.write(t("arena.intro"))
draw_undo()
arenas, broken = arena.list_arenas(services())
if broken:
    st.warning(t("arena.unreadable", names=", ".join(broken)), icon=":material/broken_image:")
view = choose_view("arena", VIEWS) if arenas else "new"
with guarded():
    draw_view(view, arenas)
