"""The view of scores: a new evaluation, the list of all, and the one that is open. Knows the evaluations service and the address."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.services import evaluations, jobs, shelved
from tunesmith.services.evaluations import Evaluation
from tunesmith.ui.dialogs import ask_delete, ask_name
from tunesmith.ui.evaluation_form import draw_form, metric_title, names_of
from tunesmith.ui.evaluation_report import draw_report
from tunesmith.ui.figures import show_time
from tunesmith.ui.frame import go_to
from tunesmith.ui.job_view import draw_running
from tunesmith.ui.messages import guarded, show_error, toast
from tunesmith.ui.session import lock_of, services, t

MOST_COMPARED = 8
RESUMABLE = {"cancelled", "failed", "stopped"}


def draw_scores() -> None:
    """Draw the evaluation that the address names, else the form and the list."""
    if evaluation_id := st.query_params.get("evaluation"):
        if st.button(t("evaluation.all"), icon=":material/arrow_back:"):
            _open("")
        _draw_one(evaluations.find(services(), evaluation_id))
        return
    with st.container(border=True), guarded():
        draw_form()
    st.markdown(f"##### {t('evaluation.list')}")
    _draw_list()


def _open(evaluation_id: str) -> None:
    if evaluation_id:
        st.query_params["evaluation"] = evaluation_id
    else:
        del st.query_params["evaluation"]
    st.rerun()


def _draw_list() -> None:
    found = evaluations.list_evaluations(services())
    if not found:
        st.info(t("evaluation.none"), icon=":material/info:")
        return
    table = {
        t("evaluation.name"): [each.name for each in found],
        t("evaluation.status"): [_status(each) for each in found],
        t("evaluation.data"): [each.job.request["data"] for each in found],
        t("evaluation.variants"): [", ".join(names_of(each).values()) for each in found],
        t("evaluation.metrics"): [", ".join(map(metric_title, each.metrics)) or t("evaluation.only_predictions") for each in found],
        t("evaluation.made"): [show_time(each.job.created_at) for each in found],
    }
    chosen = st.dataframe(
        pd.DataFrame(table), hide_index=True, width="stretch", on_select="rerun", selection_mode="single-row",
        key=f"evaluations-{hash(tuple(each.id for each in found))}",
    )  # fmt: skip
    places = chosen["selection"]["rows"]
    if not places or places[0] >= len(found):
        st.caption(t("evaluation.select"))
        return
    selected = found[places[0]]
    with st.container(horizontal=True):
        if st.button(t("common.open"), type="primary", icon=":material/open_in_new:"):
            _open(selected.id)
        _draw_actions(selected)


def _status(evaluation: Evaluation) -> str:
    status = evaluation.job.status
    return t("status.running") if status == "running" else t(f"job_status.{status}")


def _draw_actions(evaluation: Evaluation) -> None:
    """Draw what can be done with an evaluation; what fails is told beside it."""
    locked = services().read_only
    ended = evaluation.job.ended
    if evaluation.job.status in RESUMABLE and st.button(t("common.resume"), icon=":material/resume:", disabled=locked):
        with guarded():
            shelved.resume(services(), evaluation.id)
            _open(evaluation.id)
    if st.button(t("common.rename"), icon=":material/edit:", **lock_of(evaluation.job.owner)):
        ask_name(t("evaluation.rename_label"), evaluation.name, lambda name: shelved.rename(services(), evaluation.id, name))
    if st.button(t("common.delete"), icon=":material/delete:", **lock_of(evaluation.job.owner, not ended)):
        ask_delete(t("evaluation.delete_ask", name=as_text(evaluation.name)), lambda: _delete(evaluation))


def _delete(evaluation: Evaluation) -> None:
    shelved.delete(services(), evaluation.id)
    st.query_params.pop("evaluation", None)
    toast(t("evaluation.deleted", name=as_text(evaluation.name)))


def _draw_one(evaluation: Evaluation) -> None:
    job = evaluation.job
    line, actions = st.columns([3, 2], vertical_alignment="center")
    with line:
        st.markdown(f"#### {as_text(evaluation.name)}")
        split = t(f"dataset.split_{job.request['split']}")
        st.caption(f"{as_text(job.request['data'])} · {split} · {show_time(job.created_at)}")
    with actions, st.container(horizontal=True, horizontal_alignment="right"):
        _draw_actions(evaluation)
    if not job.ended:
        draw_running(job.id, jobs.EVALUATIONS)
        return
    if job.error:
        show_error(job.error)
    if job.status in RESUMABLE:
        st.info(t(f"evaluation.ended_{job.status}"), icon=":material/resume:")
    if job.status in {"failed", "stopped"}:
        with st.popover(t("run.log"), icon=":material/notes:"):
            st.code("\n".join(jobs.log_tail(services(), job.id, shelf=jobs.EVALUATIONS)) or t("run.no_log"), language=None)
    draw_report(evaluation)
    _draw_next(evaluation)


def _draw_next(evaluation: Evaluation) -> None:
    """Offer what can be done with these models and their answers."""
    with st.container(horizontal=True):
        if st.button(t("evaluation.compare"), icon=":material/compare:", help=t("evaluation.compare_help")):
            go_to("compare", variants=",".join(list(evaluation.variants)[:MOST_COMPARED]))
        if len(evaluation.variants) > 1 and st.button(t("evaluation.judge"), icon=":material/gavel:", help=t("evaluation.judge_help")):
            go_to("evaluate", view="judge", evaluation=evaluation.id)
        first = next((key for key in evaluation.variants if key != evaluation.baseline), evaluation.baseline)
        if st.button(t("evaluation.another"), icon=":material/add:"):
            go_to("evaluate", view="score", variant=first)
