"""The queue on the page: what runs, what waits, what is paused, and the order. Knows the queue service."""

from __future__ import annotations

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.i18n.markdown import as_text
from tunesmith.services import queue, runs
from tunesmith.services.queue import PRIORITIES, Waiting
from tunesmith.services.runs import RunSnapshot
from tunesmith.ui.figures import show_count, show_duration
from tunesmith.ui.frame import open_run
from tunesmith.ui.live_figures import watch_queue
from tunesmith.ui.messages import describe, guarded, show_error, toast
from tunesmith.ui.run_status import draw_status
from tunesmith.ui.session import services, t


def draw_queue() -> None:
    """Draw the queue; it is drawn anew when it has changed."""
    st.caption(t("queue.text"))
    st.fragment(_draw_all)()


def _draw_all() -> None:
    with guarded():
        found = queue.overview(services())
        watch_queue(queue.marks(found))
        if found.quiet:
            st.info(t("queue.quiet"), icon=":material/bedtime:")
        st.markdown(f"##### {t('queue.running')}")
        for state in found.active:
            _draw_active(state)
        if not found.active:
            st.caption(t("queue.none_running"))
        st.markdown(f"##### {t('queue.waiting')}")
        for waiting in found.waiting:
            _draw_waiting(waiting, len(found.waiting))
        if not found.waiting:
            st.caption(t("queue.none_waiting_busy" if found.active or found.quiet else "queue.none_waiting"))
        if found.paused:
            st.markdown(f"##### {t('queue.paused')}")
        for state in found.paused:
            _draw_paused(state)


def _draw_active(state: RunSnapshot) -> None:
    with st.container(border=True):
        line, action = st.columns([4, 1.4], vertical_alignment="center")
        with line:
            _draw_title(state.id, state.name)
            left = f" · {t('run.left', time=show_duration(state.eta_seconds))}" if state.eta_seconds is not None else ""
            st.progress(state.progress, text=t("run.step", step=show_count(state.step), iters=show_count(state.iters)) + left)
        with action, st.container(horizontal=True, horizontal_alignment="right"):
            if state.status == "stopping":
                draw_status(state.status)
            elif st.button(t("run.pause"), key=f"pause-{state.id}", icon=":material/pause_circle:", disabled=services().read_only):
                runs.pause(services(), state.id)
                toast(t("run.pause_sent"))
                st.rerun()


def _draw_title(run_id: str, name: str) -> None:
    if st.button(as_text(name), key=f"open-{run_id}", type="tertiary"):
        open_run(run_id)


def _draw_waiting(waiting: Waiting, count: int) -> None:
    with st.container(border=True):
        line, priority, action = st.columns([3, 1.2, 2.2], vertical_alignment="center")
        with line:
            _draw_title(waiting.id, f"{waiting.position}. {waiting.name}")
            facts = [t("queue.line", model=waiting.model, data=waiting.data), waiting.group]
            facts.append(t("queue.owner", name=waiting.owner) if waiting.owner else "")
            st.caption(" · ".join(as_text(fact) for fact in facts if fact))
        with priority:
            _draw_priority(waiting)
        with action, st.container(horizontal=True, horizontal_alignment="right"):
            _draw_moves(waiting, count)


def _draw_priority(waiting: Waiting) -> None:
    chosen = st.selectbox(
        t("queue.priority"), PRIORITIES, index=PRIORITIES.index(waiting.priority), key=f"priority-{waiting.id}-{waiting.priority}",
        format_func=lambda value: t(f"queue.priority_{value}"), label_visibility="collapsed",
        disabled=services().read_only or waiting.locked is not None,
    )  # fmt: skip
    if chosen != waiting.priority:
        queue.set_priority(services(), waiting.id, chosen)
        st.rerun()


def _draw_moves(waiting: Waiting, count: int) -> None:
    locked = services().read_only
    for direction, icon in (("up", "arrow_upward"), ("down", "arrow_downward")):
        at_end = waiting.position == (1 if direction == "up" else count)
        label = f":material/{icon}:"
        reason = describe(waiting.locked) if waiting.locked else t(f"queue.{direction}")
        if st.button(label, key=f"{direction}-{waiting.id}", help=reason, disabled=at_end or locked or waiting.locked is not None):
            queue.move(services(), waiting.id, "up" if direction == "up" else "down")
            st.rerun()
    if st.button(t("queue.cancel"), key=f"cancel-{waiting.id}", icon=":material/close:", disabled=locked):
        runs.stop(services(), waiting.id)
        toast(t("queue.cancelled"))
        st.rerun()


def _draw_paused(state: RunSnapshot) -> None:
    with st.container(border=True):
        line, action = st.columns([4, 1.4], vertical_alignment="center")
        with line:
            _draw_title(state.id, state.name)
            st.caption(t("run.step", step=show_count(state.step), iters=show_count(state.iters)))
        with action, st.container(horizontal=True, horizontal_alignment="right"):
            draw_resume(state)


def draw_resume(state: RunSnapshot) -> None:
    """Draw the button that lets a run go on from its newest checkpoint."""
    if st.button(t("common.resume"), key=f"resume-{state.id}", icon=":material/resume:", disabled=services().read_only):
        try:
            runs.resume(services(), state.id)
        except UserError as error:
            show_error(error)
        else:
            toast(t("run.resume_sent"))
            st.rerun()
