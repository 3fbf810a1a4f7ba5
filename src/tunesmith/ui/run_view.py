"""One run on the page: state, figures, curves, samples, log, and what to do next. Knows the runs service."""

from __future__ import annotations

import dataclasses

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.services import experiments, exports, runs, training
from tunesmith.services.runs import RunSnapshot
from tunesmith.ui.downloads import zip_files
from tunesmith.ui.figures import show_bytes, show_count, show_duration, show_loss, show_number
from tunesmith.ui.frame import go_to
from tunesmith.ui.learning_view import draw_policy_figures, draw_preference_figures, draw_signs, draw_tiles
from tunesmith.ui.live import live_curves
from tunesmith.ui.messages import guarded, show_error, toast
from tunesmith.ui.queue_view import draw_resume
from tunesmith.ui.rollouts_view import draw_rollouts
from tunesmith.ui.run_details import draw_details
from tunesmith.ui.run_files import draw_packed
from tunesmith.ui.run_report import draw_rerun, draw_take_along
from tunesmith.ui.run_status import draw_status
from tunesmith.ui.session import services, t
from tunesmith.ui.training_form import start_form_with


def draw_run(run_id: str) -> None:
    """Draw a run; while it is active, its figures renew themselves every second.

    Stop stands outside the parts that renew themselves: their next renewal would close its dialog.
    """
    state = runs.snapshot(services(), run_id)
    every = 1.0 if state.active else None
    line, action = st.columns([4, 2], vertical_alignment="center")
    with line:
        st.fragment(_draw_state, run_every=every)(run_id, _stage(state))
    with action, st.container(horizontal=True, horizontal_alignment="right"):
        _draw_actions(state)
    st.fragment(_draw_progress, run_every=every)(run_id, _stage(state))
    if not state.active:
        _draw_next_steps(state)
    st.markdown(f"##### {t('run.curves')}")
    if state.family == "policy":
        st.caption(t("learning.loss_note"))
    live_curves(run_id, state.method, state.active)
    if state.family == "policy":
        st.fragment(_draw_rollouts, run_every=5.0 if state.active else None)(run_id, _stage(state))
    st.fragment(_draw_details, run_every=2.0 if state.active else None)(run_id, _stage(state))


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


def _stage(state: RunSnapshot) -> str:
    """Return which buttons a state has: those of a waiting, a working, a stopping or an ended run."""
    return state.status if state.status in {"queued", "stopping"} else "working" if state.active else "ended"


def _draw_state(run_id: str, stage: str) -> None:
    with guarded():
        state = runs.snapshot(services(), run_id)
        if _stage(state) != stage:
            st.rerun()
        with st.container(horizontal=True, vertical_alignment="center"):
            draw_status(state.status)
            st.caption(f"{state.model} · {state.data} · {t('run.step', step=show_count(state.step), iters=show_count(state.iters))}")


def _draw_details(run_id: str, stage: str) -> None:
    """A drawing that another renewal cut short leaves parts of the old page behind; whichever still renews itself mends that."""
    with guarded():
        if _stage(runs.snapshot(services(), run_id)) != stage:
            st.rerun()
    draw_details(run_id)


def _draw_rollouts(run_id: str, stage: str) -> None:
    with guarded():
        if _stage(runs.snapshot(services(), run_id)) != stage:
            st.rerun()
    draw_rollouts(run_id, active=stage != "ended")


def _draw_progress(run_id: str, stage: str) -> None:
    with guarded():
        state = runs.snapshot(services(), run_id)
        if _stage(state) != stage:
            st.rerun()
        st.progress(state.progress)
        _draw_notes(state)
        FIGURES[state.family](state)
        if state.family == "policy":
            draw_signs(run_id, state.active)


def _draw_notes(state: RunSnapshot) -> None:
    if state.status == "queued" and state.queue_position:
        st.info(t("run.waiting_for", n=state.queue_position), icon=":material/hourglass_empty:")
    elif state.active and state.step == 0:
        st.caption(t("run.loading"))
    if not state.responding:
        st.warning(t("run.not_responding"), icon=":material/warning:")
    if state.error:
        show_error(state.error)
    if state.resumable:
        st.caption(t("run.resume_text", step=show_count(state.step)))
    if state.continued_from:
        st.caption(t("run.continued_from", name=experiments.name_of(services(), state.continued_from)))
    if state.bad_lines:
        st.caption(t("run.bad_lines", n=state.bad_lines))


def _draw_figures(state: RunSnapshot) -> None:
    note = t("run.loss_first", loss=show_loss(state.train_loss_first)) if state.train_loss_first is not None else None
    best = t("run.best", loss=show_loss(state.best_val_loss)) if state.best_val_loss is not None else None
    pace = t("run.step_time", n=show_number(state.seconds_per_step, 2)) if state.seconds_per_step else None
    left = t("run.left", time=show_duration(state.eta_seconds)) if state.active and state.eta_seconds is not None else None
    tiles = (
        (t("run.loss"), show_loss(state.train_loss), note),
        (t("run.val_loss"), show_loss(state.val_loss), best),
        (t("run.elapsed"), show_duration(state.elapsed_seconds), left),
        (t("run.speed"), show_count(state.tokens_per_second), pace),
        (t("run.memory"), show_bytes(state.peak_memory_bytes), None),
    )
    draw_tiles(tiles)


FIGURES = {"sft": _draw_figures, "preference": draw_preference_figures, "policy": draw_policy_figures}


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
                st.download_button(
                    t("run.export"), lambda: zip_adapter(state.id), file_name=f"{state.id}-adapter.zip", icon=":material/download:",
                    mime="application/zip",
                )  # fmt: skip
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


def zip_adapter(run_id: str) -> bytes:
    """Return the adapter's folder and the run's settings as a zip file."""
    folder = services().store.folder(run_id)
    files = [(path, path.name) for path in sorted(folder.adapter.iterdir())]
    return zip_files(f"{run_id}-adapter", [*files, (folder.config, "training_config.yaml")])
