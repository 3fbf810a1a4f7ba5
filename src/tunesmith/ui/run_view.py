"""One run on the page: state, figures, curves, samples, log, and what to do next. Knows the runs service."""

from __future__ import annotations

import dataclasses

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.i18n.markdown import as_text
from tunesmith.reports.run_figures import worded_figures
from tunesmith.services import experiments, exports, run_facts, runs, training
from tunesmith.services.context import Services
from tunesmith.services.run_facts import LARGEST_DOWNLOAD_BYTES
from tunesmith.services.runs import RunSnapshot
from tunesmith.ui.downloads import draw_download, zip_files
from tunesmith.ui.figures import show_bytes, show_count
from tunesmith.ui.frame import go_to
from tunesmith.ui.live import live_curves
from tunesmith.ui.live_figures import live_body, live_head, watch
from tunesmith.ui.messages import show_error, toast
from tunesmith.ui.queue_view import draw_resume
from tunesmith.ui.rollouts_view import draw_rollouts
from tunesmith.ui.run_details import draw_details
from tunesmith.ui.run_files import draw_packed
from tunesmith.ui.run_report import draw_rerun, draw_take_along
from tunesmith.ui.run_titles import draw_run_name
from tunesmith.ui.session import language, services, t
from tunesmith.ui.training_form import start_form_with


def draw_run(run_id: str) -> None:
    """Draw a run; while it is active its figures and curves go on in the browser, and the page is drawn anew when its buttons change.

    Stop stands outside the parts that are drawn anew by themselves: the next time would close its dialog.
    """
    state = runs.snapshot(services(), run_id)
    figures = worded_figures(services(), state, language())
    line, action = st.columns([4, 2], vertical_alignment="center")
    with line:
        draw_run_name(run_id, state.name)
        live_head(run_id, figures)
    with action, st.container(horizontal=True, horizontal_alignment="right"):
        _draw_actions(state)
    _draw_notes(state)
    live_body(run_id, figures)
    if not state.active:
        _draw_next_steps(state)
    st.markdown(f"##### {t('run.curves')}")
    if state.family == "policy":
        st.caption(t("learning.loss_note"))
    live_curves(run_id, state.method, state.active)
    if state.family == "policy":
        st.fragment(draw_rollouts)(run_id, state.active)
    st.fragment(draw_details)(run_id, state.active)
    watch(run_id, "page", {"stage": state.stage})  # last: a drawing that is cut short before it leaves the old one, which asks again


def _draw_actions(state: RunSnapshot) -> None:
    locked = state.status == "stopping" or services().read_only
    if state.resumable:
        draw_resume(state)
    if state.status in {"running", "starting"} and st.button(t("run.pause"), icon=":material/pause_circle:", disabled=locked):
        runs.pause(services(), state.id)
        toast(t("run.pause_sent"))
        st.rerun()
    if state.active and st.button(t("run.stop"), icon=":material/stop_circle:", disabled=locked):
        _ask_stop(state.id)


def _draw_notes(state: RunSnapshot) -> None:
    if state.error:
        show_error(state.error)
    if state.resumable:
        st.caption(t("run.resume_text", step=show_count(state.step)))
    if state.restarts:
        st.caption(t("run.restarted", step=show_count(state.restarts[-1]), n=len(state.restarts)))
    if state.continued_from:
        st.caption(t("run.continued_from", name=as_text(experiments.name_of(services(), state.continued_from))))


def _ask_stop(run_id: str) -> None:
    @st.dialog(t("run.stop"))
    def ask() -> None:
        st.write(t("run.stop_ask"))
        with st.container(horizontal=True):
            if st.button(t("run.stop_yes"), type="primary"):
                runs.stop(services(), run_id)
                toast(t("run.stop_sent"))
                st.rerun()
            if st.button(t("common.cancel")):
                st.rerun()

    ask()


def _draw_next_steps(state: RunSnapshot) -> None:
    with st.container(border=True):
        if state.adapter:
            so_far = state.status in {"paused", "interrupted", "failed"}
            st.markdown(f"##### {t('run.so_far_title') if so_far else t('run.done_title')}")
            st.write(t("run.so_far_text") if so_far else t("run.ended_cancelled") if state.status == "cancelled" else t("run.done_text"))
        with st.container(horizontal=True):
            if state.adapter:
                if st.button(t("run.compare"), type="primary", icon=":material/compare:"):
                    go_to("compare", run=state.id)
                if st.button(t("evaluation.evaluate"), icon=":material/fact_check:", help=t("evaluation.evaluate_help")):
                    go_to("evaluate", view="score", variant=f"adapter:{state.id}")
                _draw_adapter_file(state.id)
                if st.button(t("adapters.export"), icon=":material/output:", help=t("run.export_help")):
                    go_to("export", source=f"adapter:{state.id}")
                made = len(exports.list_made(services(), state.id))
                if made and st.button(t("run.exports", n=made), icon=":material/inventory_2:"):
                    go_to("export", view="made", run=state.id)
            if state.status == "completed":
                with st.popover(t("run.more"), icon=":material/fast_forward:"):
                    _draw_continue(state)
            if (
                state.family == "sft"
                and state.adapter
                and st.button(t("run.rewards"), icon=":material/trophy:", help=t("run.rewards_help"))
            ):
                start_form_with(dataclasses.replace(state.config.with_method("grpo"), resume_adapter_file=state.id, name="", epochs=0.0))
                go_to("training", view="new")
            if st.button(t("run.again"), icon=":material/replay:", help=t("run.again_help")):
                start_form_with(state.config)
                go_to("training", view="new")
            draw_rerun(state.id)
            draw_take_along([state.id])
        draw_packed(state.id)


def _draw_adapter_file(run_id: str) -> None:
    size = run_facts.adapter_bytes(services(), run_id)
    if size <= LARGEST_DOWNLOAD_BYTES:
        draw_download(t("run.export"), lambda s: zip_adapter(s, run_id), f"{run_id}-adapter.zip")
    else:
        folder = str(services().store.folder(run_id).adapter)
        st.button(
            t("run.export"), icon=":material/download:", disabled=True, help=t("run.export_large", size=show_bytes(size), folder=folder)
        )


def _draw_continue(state: RunSnapshot) -> None:
    st.caption(t("run.more_text"))
    more = st.number_input(t("run.more_steps"), min_value=1, max_value=1_000_000, value=max(1, state.step // 2), key=f"more-{state.id}")
    if st.button(t("run.more"), key=f"continue-{state.id}", type="primary", disabled=services().read_only):
        try:
            run_id = training.continue_run(services(), state.id, int(more))
        except UserError as error:
            show_error(error)
        else:
            toast(t("run.more_started"))
            go_to("training", run=run_id)


def zip_adapter(s: Services, run_id: str) -> bytes:
    """Return the adapter's folder and the run's settings as a zip file."""
    folder = s.store.folder(run_id)
    files = [(path, path.name) for path in sorted(folder.adapter.iterdir())]
    return zip_files(f"{run_id}-adapter", [*files, (folder.config, "training_config.yaml")])
