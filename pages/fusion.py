"""Fusion: choose adapters of one base, see where they disagree, fuse their changes, see what came of it."""

from __future__ import annotations

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.fusion.config import FusionRules
from tunesmith.services import datasets, fusion
from tunesmith.services.adapters import AdapterInfo, list_adapters
from tunesmith.ui.frame import link_to
from tunesmith.ui.fusion_form import draw_choice, draw_rules, is_ready
from tunesmith.ui.fusion_map import draw_map
from tunesmith.ui.fusion_report import draw_fusion, draw_sweep
from tunesmith.ui.job_view import draw_jobs
from tunesmith.ui.messages import guarded, show_error
from tunesmith.ui.open_tabs import renewal_seconds
from tunesmith.ui.session import services, t
from tunesmith.ui.training_form import dataset_title

SWEEP_POINTS = 5


def draw_conflicts(chosen: list[AdapterInfo]) -> None:
    """Draw the map of the chosen adapters, or what makes it."""
    ids = [info.id for info in chosen]
    with st.expander(t("fusion.map"), icon=":material/grid_on:", expanded=True), guarded():
        job = fusion.find_map(services(), ids)
        if job is None:
            st.caption(t("fusion.map_text"))
            if st.button(t("fusion.map_now"), icon=":material/grid_on:", disabled=services().read_only):
                fusion.start_map(services(), ids)
                st.rerun()
        elif job.ended:
            draw_map(job)
        else:
            st.fragment(wait_for_map, run_every=renewal_seconds(0.5))(ids)


def wait_for_map(ids: list[str]) -> None:
    """Draw how far the map is; at its end draw the page anew."""
    job = fusion.find_map(services(), ids)
    if job is None or job.ended:
        st.rerun()
    st.progress(job.share, text=t(f"phase.{job.phase or 'starting'}"))


def draw_start(chosen: list[AdapterInfo], rules: FusionRules) -> None:
    """Draw what is made of the fusion, and begin it."""
    titles = {d.id: dataset_title(d) for d in datasets.list_datasets(services()) if d.rows.get("valid") and "sft" in d.methods}
    left, middle, right = st.columns(3)
    target = left.segmented_control(
        t("fusion.target"), fusion.TARGETS, default="adapter", format_func=lambda name: t(f"fusion.target_{name}"),
        help=t("fusion.target_help"),
    ) or "adapter"  # fmt: skip
    suggested = " + ".join(info.name for info in chosen)[:80]
    name = middle.text_input(t("fusion.name"), value=suggested, key=f"fusion-name-{'-'.join(i.id for i in chosen)}", max_chars=200)
    own = [""] + [info.data.partition("@")[0] for info in chosen if info.data.partition("@")[0] in titles]
    data = right.selectbox(
        t("fusion.data"), ["", *titles], index=["", *titles].index(own[-1]), format_func=lambda d: titles.get(d, t("fusion.no_data")),
        help=t("fusion.data_help"), key=f"fusion-data-{'-'.join(i.id for i in chosen)}",
    )  # fmt: skip
    ready = is_ready(chosen, rules) and not services().read_only
    ids = [info.id for info in chosen]
    with st.container(horizontal=True):
        try:
            if st.button(t("fusion.fuse"), type="primary", icon=":material/merge:", disabled=not ready):
                fusion.start_fusion(services(), ids, rules, target, name, data)
                st.rerun()
            if st.button(
                t("fusion.sweep"), icon=":material/show_chart:", disabled=not (ready and data) or rules.method == "model_stock",
                help=t("fusion.sweep_help", points=SWEEP_POINTS),
            ):  # fmt: skip
                fusion.start_sweep(services(), ids, rules, SWEEP_POINTS, data)
                st.rerun()
        except UserError as error:
            show_error(error)


st.title(t("fusion.title"))
st.write(t("fusion.intro"))
known = list_adapters(services())
if len(known) < 2:
    st.info(t("fusion.empty"), icon=":material/info:")
    link_to("home", t("compare.to_home"))
else:
    with guarded():
        adapters = draw_choice(known)
        if len(adapters) >= 2:
            draw_conflicts(adapters)
            draw_start(adapters, draw_rules(adapters))
        else:
            st.caption(t("fusion.choose_two"))
draw_jobs(("fuse", "sweep_weights"), lambda job: draw_fusion(job) if job.kind == "fuse" else draw_sweep(job))
