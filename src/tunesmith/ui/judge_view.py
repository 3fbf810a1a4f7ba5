"""The view "judge" of the Evaluate page: a new judgement, those that run, and the one that is open. Knows the judging service."""

from __future__ import annotations

import streamlit as st

from tunesmith.data.samples.rows import as_csv, as_jsonl
from tunesmith.errors import UserError
from tunesmith.i18n.markdown import as_text
from tunesmith.services import jobs, judging, shelved
from tunesmith.services.judging import Judged
from tunesmith.ui.dialogs import ask_delete, ask_name
from tunesmith.ui.downloads import draw_download
from tunesmith.ui.figures import show_count, show_time
from tunesmith.ui.job_view import draw_running
from tunesmith.ui.judge_form import draw_form
from tunesmith.ui.judge_result import draw_result
from tunesmith.ui.messages import guarded, show_error, toast
from tunesmith.ui.run_titles import run_titles
from tunesmith.ui.session import lock_of, services, t


def draw_judge() -> None:
    """Draw the view; the address may name the judgement that is open."""
    st.caption(t("judge.text"))
    found = judging.list_judgements(services())
    with st.expander(t("judge.new"), icon=":material/gavel:", expanded=not found), guarded():
        draw_form()
    for each in found:
        if not each.job.ended:
            draw_running(each.id, jobs.EVALUATIONS)
    _draw_list([each for each in found if each.job.ended])


def _draw_list(ended: list[Judged]) -> None:
    """Draw the choice of one and the one chosen."""
    if not ended:
        st.caption(t("judge.none"))
        return
    known = {each.id: each for each in ended}
    asked = st.query_params.get("judgement", "")
    titles = run_titles(ended)
    chosen = st.selectbox(
        t("judge.list"), list(known), index=list(known).index(asked) if asked in known else 0, key=f"judgement-{asked}-{len(known)}",
        format_func=lambda each: titles[each],
    )  # fmt: skip
    with st.container(border=True), guarded():
        _draw_judgement(known[chosen])


def _draw_judgement(found: Judged) -> None:
    job = found.job
    st.markdown(f"##### {as_text(found.name)}")
    data = as_text(f"{job.request['data']} / {job.request['split']}")
    st.caption(t("judge.by", judge=as_text(found.judge_name), data=data, time=show_time(job.created_at)))
    if job.error:
        show_error(job.error)
    if job.status != "completed":
        _draw_going_on(found)
    draw_result(found)
    if job.status == "completed":
        _draw_asking_again(found)
    with st.expander(t("judge.prompt"), icon=":material/edit_note:"):
        st.code(job.request["prompt"], language=None, wrap_lines=True)
    _draw_actions(found)


def _draw_going_on(found: Judged) -> None:
    """Draw how much of an ended judgement is there."""
    judgement, wanted = judging.read_judgement(found), judging.count_questions(found)
    answered = judgement.asked - judgement.unanswered
    st.warning(
        t("judge.ended_early", asked=show_count(answered), all=show_count(wanted) if wanted else "?"), icon=":material/pause_circle:"
    )
    _draw_resume(found, t("common.resume"))


def _draw_asking_again(found: Judged) -> None:
    """Offer to ask what the endpoint did not answer."""
    if unanswered := judging.read_judgement(found).unanswered:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(t("judge.unanswered", count=show_count(unanswered)))
            _draw_resume(found, t("judge.again"))


def _draw_resume(found: Judged, label: str) -> None:
    if st.button(label, key=f"resume-{found.id}", icon=":material/play_arrow:", disabled=services().read_only):
        try:
            judging.resume(services(), found.id)
        except UserError as error:
            show_error(error)
        else:
            toast(t("judge.resumed"))
            st.rerun()


def _draw_actions(found: Judged) -> None:
    with st.container(horizontal=True):
        records = list(judging.export_records(found))
        if records:
            help_text = t("judge.files")
            draw_download("JSONL", as_jsonl(records), f"{found.id}.jsonl", help=help_text)
            draw_download("CSV", as_csv(records), f"{found.id}.csv", help=help_text)
        if st.button(t("common.rename"), key=f"rename-{found.id}", icon=":material/edit:", **lock_of(found.job.owner)):
            ask_name(t("judge.name"), found.name, lambda name: shelved.rename(services(), found.id, name))
        if st.button(t("common.delete"), key=f"delete-{found.id}", icon=":material/delete:", **lock_of(found.job.owner)):
            ask_delete(t("judge.delete_ask", name=as_text(found.name)), lambda: shelved.delete(services(), found.id))
