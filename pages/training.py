"""Training: a new run, or one run by its address."""

from __future__ import annotations

import streamlit as st

from tunesmith.data.formats import POLICY
from tunesmith.services import experiments, training
from tunesmith.ui.frame import open_run
from tunesmith.ui.messages import toast
from tunesmith.ui.queue_view import draw_queue
from tunesmith.ui.run_preview import draw_preview
from tunesmith.ui.run_titles import MOST_OFFERED, newest_of, run_titles
from tunesmith.ui.run_view import draw_run
from tunesmith.ui.session import services, t
from tunesmith.ui.sweep_form import draw_sweep
from tunesmith.ui.training_form import draw_form
from tunesmith.ui.view_choice import choose_view
from tunesmith.ui.workbench_view import draw_workbench


def draw_new_run() -> None:
    """Draw the form, what the run would do beside it, and Start."""
    form, side = st.columns([3, 2], gap="large")
    with form:
        config = draw_form()
    with side:
        ready = config is not None and draw_preview(config)
        if st.button(t("training.start"), type="primary", icon=":material/play_arrow:", disabled=not ready, width="stretch"):
            assert config is not None
            run_id = training.start(services(), config)
            toast(t("training.started"))
            open_run(run_id)
        if config is not None:
            draw_sweep(config, ready)
    if config is not None and config.method in POLICY:
        with st.expander(t("workbench.title"), icon=":material/science:", expanded=True):
            draw_workbench(config)


def draw_runs() -> None:
    """Draw the run that the address names, else the newest."""
    rows = experiments.table(services())
    if not rows:
        st.info(t("training.no_run"), icon=":material/info:")
        return
    asked = st.query_params.get("run")
    names = run_titles(newest_of(rows, [asked] if asked else []))
    if asked is not None and asked not in names:
        draw_run(asked)  # says that there is none
        return
    chosen = st.selectbox(
        t("training.pick_run"), list(names), index=list(names).index(asked) if asked else 0, format_func=lambda run_id: names[run_id],
        help=t("training.pick_run_help", most=MOST_OFFERED),
    )  # fmt: skip
    if chosen != asked:
        st.query_params["run"] = chosen
    draw_run(chosen)


VIEWS = {"new": draw_new_run, "run": draw_runs, "queue": draw_queue}

st.title(t("training.title"))
view = choose_view("training", VIEWS, default="run" if "run" in st.query_params else "new")
if view != "run":
    st.query_params.pop("run", None)
VIEWS[view]()
