"""Dataset: choose, bring, look, check."""

from __future__ import annotations

import dataclasses

import streamlit as st

from tunesmith.services import datasets
from tunesmith.ui.dataset_view import draw_problems, draw_rows, draw_summary, draw_upload
from tunesmith.ui.downloads import zip_files
from tunesmith.ui.frame import go_to
from tunesmith.ui.messages import guarded, toast
from tunesmith.ui.session import services, t
from tunesmith.ui.training_form import dataset_title, present_config, start_form_with
from tunesmith.ui.xray import draw_xray


def ask_delete(dataset_id: str, name: str) -> None:
    """Ask before a data set is deleted."""

    @st.dialog(t("common.delete"))
    def ask() -> None:
        with guarded():
            st.write(t("dataset.delete_ask", name=name))
            if st.button(t("common.delete"), type="primary"):
                datasets.delete(services(), dataset_id)
                st.session_state["deleted_dataset"] = (dataset_id, name)
                st.query_params.pop("data", None)
                st.rerun()

    ask()


def draw_undo() -> None:
    """Offer to bring back what was just deleted."""
    if deleted := st.session_state.get("deleted_dataset"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(t("dataset.deleted", name=deleted[1]), icon=":material/delete:")
            if st.button(t("common.undo"), icon=":material/undo:"):
                del st.session_state["deleted_dataset"]
                datasets.restore(services(), deleted[0])
                toast(t("dataset.restored", name=deleted[1]))
                st.rerun()


def train_on(dataset_id: str) -> None:
    """Go to the form of a new run with this data set chosen."""
    start_form_with(dataclasses.replace(present_config(), data=dataset_id))
    go_to("training", view="new")


def zip_dataset(dataset_id: str) -> bytes:
    """Return the data set's files as a zip file."""
    folder = datasets.find_dataset(services(), dataset_id).path
    return zip_files(dataset_id, [(path, path.name) for path in sorted(folder.glob("*.json*"))])


def draw_actions(summary: datasets.DatasetSummary) -> None:
    """Draw what can be done with the chosen set."""
    if "sft" not in summary.methods:
        st.caption(t("dataset.not_trainable"))
    with st.container(horizontal=True):
        if "sft" in summary.methods and st.button(t("dataset.train"), type="primary", icon=":material/model_training:"):
            train_on(summary.id)
        st.download_button(
            t("common.download"),
            lambda: zip_dataset(summary.id),
            file_name=f"{summary.id}.zip",
            icon=":material/download:",
            mime="application/zip",
        )
        locked = services().read_only
        if not summary.shipped and st.button(t("common.delete"), icon=":material/delete:", disabled=locked):
            ask_delete(summary.id, dataset_title(summary))


st.title(t("dataset.title"))
st.write(t("dataset.intro"))
draw_undo()
draw_upload()
found = {summary.id: summary for summary in datasets.list_datasets(services())}
asked = st.query_params.get("data")
chosen = st.selectbox(
    t("dataset.pick"), list(found), index=list(found).index(asked) if asked in found else list(found).index("company_facts"),
    format_func=lambda name: f"{dataset_title(found[name])} · {t('dataset.shipped' if found[name].shipped else 'dataset.own')}",
)  # fmt: skip
if chosen != asked:
    st.query_params["data"] = chosen
with guarded():
    report = datasets.report(services(), chosen)
    draw_summary(report)
    draw_actions(report.summary)
    names = [t("dataset.preview"), t("dataset.xray"), f"{t('dataset.problems')} ({len(report.problems)})"]
    preview, tokens, problems = st.tabs(names, on_change="rerun")
    with preview:
        draw_rows(chosen, report.summary)
    with tokens:
        if tokens.open and "sft" in report.summary.methods:
            draw_xray(chosen, report.summary)
        elif tokens.open:
            st.caption(t("dataset.not_trainable"))
    with problems:
        draw_problems(report)
