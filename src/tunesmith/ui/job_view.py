"""Jobs beside training runs on a page: how far each is, what it made, what went wrong. Knows no kind of job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.jobs.job import Job
from tunesmith.services import jobs
from tunesmith.ui.dialogs import ask_delete
from tunesmith.ui.figures import show_bytes, show_duration, show_time
from tunesmith.ui.messages import guarded, show_error
from tunesmith.ui.open_tabs import renewal_seconds
from tunesmith.ui.session import lock_of, services, t

SHOWN = 8
SIZED = {"downloading"}  # phases whose share is one of the request's bytes
ICONS = {"completed": "check_circle", "failed": "error", "cancelled": "cancel", "stopped": "report"}


def draw_jobs(
    kinds: tuple[str, ...], draw_result: Callable[[Job], None], shown: int = SHOWN, shelf: str = jobs.JOBS,
    resume: Callable[[str], object] | None = None,
) -> None:  # fmt: skip
    """Draw the newest jobs of these kinds; a running one renews itself, an ended one shows its result.

    `resume` takes the id of a job that ended early and can go on from what it has.
    """
    found = jobs.list_jobs(services(), *kinds, most=shown, shelf=shelf)
    for number, job in enumerate(found):
        if job.ended:
            _draw_ended(job, draw_result, number == 0, shelf, resume)
        else:
            draw_running(job.id, shelf)


def draw_running(job_id: str, shelf: str = jobs.JOBS) -> None:
    """Draw how far a running job is, and a way to end it; the page is drawn again when it has ended."""
    with st.container(border=True):
        st.fragment(_draw_running, run_every=renewal_seconds(0.7))(job_id, shelf)


def _draw_running(job_id: str, shelf: str) -> None:
    with guarded():
        job = jobs.find_job(services(), job_id, shelf)
        if job.ended:
            st.rerun()
        line, action = st.columns([5, 1], vertical_alignment="center")
        with line:
            words = " · ".join(_progress_words(job))
            st.markdown(f"**{t(f'job.{job.kind}')}** · {as_text(title_of(job))}")
            st.progress(min(1.0, job.share), text=words)
        if action.button(t("common.cancel"), key=f"cancel-{job.id}", icon=":material/close:", disabled=services().read_only):
            jobs.cancel(services(), job.id, shelf)


def _progress_words(job: Job) -> list[str]:
    """Return the phase, of what is so and so large how much is there and how fast it comes, and the time left."""
    words = [t(f"phase.{job.phase}") if job.phase else t("phase.starting")]
    if job.phase in SIZED and (size := job.request.get("size_bytes")):
        words.append(t("common.of", part=show_bytes(job.share * size), whole=show_bytes(size)))
        if job.pace:
            words.append(t("job.per_second", size=show_bytes(job.pace * size)))
    if job.seconds_left is not None and job.seconds > 2:
        words.append(t("common.time_left", time=show_duration(job.seconds_left)))
    return words


def _draw_ended(
    job: Job, draw_result: Callable[[Job], None], expanded: bool, shelf: str, resume: Callable[[str], object] | None
) -> None:  # fmt: skip
    icon = f":material/{ICONS.get(job.status, 'help')}:"
    heading = f"{t(f'job.{job.kind}')} · {as_text(title_of(job))} · {t(f'job_status.{job.status}')} · {show_time(job.created_at)}"
    can_go_on = resume is not None and job.status != "completed"
    with st.expander(heading, expanded=expanded and (job.status != "cancelled" or can_go_on), icon=icon):
        with guarded():
            if job.error:
                show_error(job.error)
            if job.status == "stopped":
                st.warning(t("job.died_may_go_on" if can_go_on else "job.died"), icon=":material/report:")
            if job.status == "completed":
                draw_result(job)
        with st.container(horizontal=True):
            if resume and can_go_on:
                _draw_resume(job, resume)
            if job.status in {"failed", "stopped"}:
                with st.popover(t("run.log"), icon=":material/notes:"):
                    st.code("\n".join(jobs.log_tail(services(), job.id, shelf=shelf)) or t("run.no_log"), language=None)
            holds_results = shelf == jobs.EVALUATIONS and job.status == "completed"  # they lie in its folder alone
            if holds_results and st.button(t("common.delete"), key=f"delete-{job.id}", icon=":material/delete:", **lock_of(job.owner)):
                ask_delete(t("job.delete_results", name=as_text(title_of(job))), lambda: jobs.forget(services(), job.id, shelf))
            made_here = bool(path := job.result.get("path")) and Path(str(path)).is_relative_to(job.folder)
            help_key = "job.forget_part_help" if can_go_on else "job.forget_made_help" if made_here else "job.forget_help"
            if not holds_results and st.button(
                t("job.forget"), key=f"forget-{job.id}", icon=":material/close:", **{"help": t(help_key)} | lock_of(job.owner)
            ):
                jobs.forget(services(), job.id, shelf)
                st.rerun()


def _draw_resume(job: Job, resume: Callable[[str], object]) -> None:
    if st.button(t("common.resume"), key=f"resume-{job.id}", icon=":material/resume:", disabled=services().read_only):
        with guarded():
            resume(job.id)
            st.rerun()


def title_of(job: Job) -> str:
    """Return what a job is about."""
    if names := [str(each["name"]) for each in job.request.get("adapters", ())]:
        return str(job.request.get("name") or " + ".join(names))
    return str(job.request.get("name") or job.request.get("repository") or "")
