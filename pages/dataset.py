"""Dataset: choose, bring, look, check."""

from __future__ import annotations

import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.services import datasets
from tunesmith.services.context import Services
from tunesmith.ui.bring_view import draw_bring
from tunesmith.ui.dataset_view import choose_owner, draw_problems, draw_rows, draw_summary, whose
from tunesmith.ui.dialogs import ask_delete
from tunesmith.ui.downloads import draw_download, zip_files
from tunesmith.ui.frame import go_to
from tunesmith.ui.messages import guarded, toast
from tunesmith.ui.quality_view import draw_quality
from tunesmith.ui.session import lock_of, services, t
from tunesmith.ui.training_form import dataset_title, start_form_for
from tunesmith.ui.versions_view import draw_history, draw_split
from tunesmith.ui.xray import draw_xray


def ask_to_delete(dataset_id: str, name: str) -> None:
    """Ask before a data set is deleted."""

    def delete() -> None:
        datasets.delete(services(), dataset_id)
        st.session_state["deleted_dataset"] = (dataset_id, name)
        st.query_params.pop("data", None)

    ask_delete(t("dataset.delete_ask", name=as_text(name)), delete)


def draw_undo() -> None:
    """Offer to bring back what was just deleted."""
    if deleted := st.session_state.get("deleted_dataset"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(t("dataset.deleted", name=as_text(deleted[1])), icon=":material/delete:")
            if st.button(t("common.undo"), icon=":material/undo:"):
                del st.session_state["deleted_dataset"]
                datasets.restore(services(), deleted[0])
                toast(t("dataset.restored", name=as_text(deleted[1])))
                st.rerun()


def zip_dataset(s: Services, dataset_id: str) -> bytes:
    """Return the data set's files as a zip file."""
    folder = datasets.find_dataset(s, dataset_id).path
    return zip_files(dataset_id, [(path, path.name) for path in sorted(folder.glob("*.json*"))])


def draw_actions(summary: datasets.DatasetSummary) -> None:
    """Draw what can be done with the chosen set."""
    with st.container(horizontal=True):
        if (
            summary.methods
            and summary.rows.get("train")
            and st.button(t("dataset.train"), type="primary", icon=":material/model_training:")
        ):
            start_form_for(summary)
            go_to("training", view="new")
        draw_download(t("common.download"), lambda s: zip_dataset(s, summary.id), f"{summary.id}.zip")
        if not summary.shipped and st.button(t("common.delete"), icon=":material/delete:", **lock_of(summary.owner)):
            ask_to_delete(summary.id, dataset_title(summary))


def draw_set(chosen: str) -> None:
    """Draw everything about the chosen set."""
    report = datasets.report(services(), chosen)
    summary = report.summary
    draw_summary(report)
    draw_actions(summary)
    problems = f"{t('dataset.problems')} ({sum(report.problem_counts.values())})"
    names = [t("dataset.preview"), t("dataset.xray"), t("dataset.quality"), t("dataset.split"), problems, t("dataset.history")]
    rows, tokens, quality, split, faults, history = st.tabs(names, on_change="rerun", key="about")
    with rows, guarded():
        draw_rows(chosen, summary)
    with tokens, guarded():
        if tokens.open and "sft" in summary.methods:
            draw_xray(chosen, summary)
        elif tokens.open:
            st.caption(t("dataset.not_trainable"))
    for tab, draw in ((quality, draw_quality), (split, draw_split), (history, draw_history)):
        with tab, guarded():
            if tab.open:
                draw(summary)
    with faults:
        draw_problems(report)


st.title(t("dataset.title"))
st.write(t("dataset.intro"))
draw_undo()
draw_bring()
found = {summary.id: summary for summary in datasets.list_datasets(services())}
asked = st.query_params.get("data")
found = choose_owner(found, asked)
first = next((name for name in (asked, "company_facts") if name in found), next(iter(found)))
chosen = st.selectbox(
    t("dataset.pick"), list(found), index=list(found).index(first),
    format_func=lambda name: f"{dataset_title(found[name])} · {whose(found[name])}",
)  # fmt: skip
if chosen != asked:
    st.query_params["data"] = chosen
with guarded():
    draw_set(chosen)
