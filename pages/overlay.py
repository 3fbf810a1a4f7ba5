"""Compare runs: curves over each other, settings side by side, what a sweep found, last answers."""

from __future__ import annotations

import streamlit as st

from tunesmith.services import experiments
from tunesmith.ui.frame import link_to
from tunesmith.ui.messages import guarded
from tunesmith.ui.overlay_choice import choose_runs
from tunesmith.ui.overlay_curves import draw_curves
from tunesmith.ui.overlay_settings import draw_answers, draw_settings
from tunesmith.ui.overlay_sweep import draw_sweep_results
from tunesmith.ui.run_report import draw_take_along
from tunesmith.ui.session import services, t
from tunesmith.ui.view_choice import choose_view

VIEWS = {"curves": draw_curves, "settings": draw_settings, "sweep": draw_sweep_results, "answers": draw_answers}

st.title(t("overlay.title"))
st.write(t("overlay.intro"))
offered = experiments.table(services())
if not offered:
    st.info(t("overlay.empty"), icon=":material/info:")
    link_to("home", t("compare.to_home"))
    st.stop()
chosen = choose_runs(offered)
with st.container(horizontal=True, horizontal_alignment="distribute"):
    view = choose_view("overlay", VIEWS)
    if chosen:
        draw_take_along([run.id for run in chosen], ended=not any(run.active for run in chosen))
if chosen:
    with guarded():
        VIEWS[view](chosen)
else:
    st.caption(t("overlay.choose_some"))
