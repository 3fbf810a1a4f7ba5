"""Adapters: every one there is; rename, tag, throw away, bring back, import; carry on to Compare, Fusion and Export."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from tunesmith.access.people import ADMIN
from tunesmith.i18n.markdown import as_text
from tunesmith.services import adapters, models
from tunesmith.services.adapters import AdapterInfo
from tunesmith.ui.adapter_table import draw_adapters
from tunesmith.ui.dialogs import ask_delete, ask_name
from tunesmith.ui.frame import go_to, link_to, open_run
from tunesmith.ui.job_view import draw_jobs
from tunesmith.ui.messages import describe, guarded, toast
from tunesmith.ui.session import lock_of, services, t
from tunesmith.ui.tag_choice import draw_tags


def draw_undo() -> None:
    """Offer to bring back what was just thrown away."""
    if trashed := st.session_state.get("adapter_trashed"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(t("experiments.trashed", name=as_text(trashed.name)), icon=":material/delete:")
            if st.button(t("common.undo"), icon=":material/undo:"):
                del st.session_state["adapter_trashed"]
                adapters.restore(services(), trashed.id, of_run=bool(trashed.run_id))
                toast(t("experiments.restored", name=as_text(trashed.name)))
                st.rerun()


def trash(info: AdapterInfo) -> None:
    """Throw an adapter away and remember it for the undo."""
    adapters.trash(services(), info)
    st.session_state["adapter_trashed"] = info


def draw_actions(info: AdapterInfo) -> None:
    """Draw what can be done with the selected adapter."""
    if info.problem:
        st.error(describe(info.problem), icon=":material/error:")
    with st.container(horizontal=True):
        if st.button(t("run.compare"), type="primary", icon=":material/compare:", disabled=info.problem is not None):
            go_to("compare", run=info.id)
        if st.button(t("evaluation.evaluate"), icon=":material/fact_check:", disabled=info.problem is not None):
            go_to("evaluate", view="score", variant=f"adapter:{info.id}")
        if st.button(t("adapters.export"), icon=":material/output:", disabled=info.problem is not None):
            go_to("export", source=f"adapter:{info.id}")
        if info.run_id and st.button(t("adapters.open_run"), icon=":material/open_in_new:"):
            open_run(info.run_id)
        if st.button(t("common.rename"), icon=":material/edit:", **lock_of(info.owner)):
            ask_name(t("adapters.rename_label"), info.name, lambda name: adapters.rename(services(), info, name))
        if st.button(t("common.delete"), icon=":material/delete:", **lock_of(info.owner)):
            ask_delete(t("adapters.trash_run" if info.run_id else "adapters.trash_ask", name=as_text(info.name)), lambda: trash(info))
    known = {tag for each in found for tag in each.tags}
    draw_tags(t("adapters.tags"), info.id, info.tags, known, lambda add, remove: adapters.change_tags(services(), info, add, remove))


def draw_import() -> None:
    """Draw what is needed to bring an adapter, and begin."""
    with st.expander(t("adapters.import"), icon=":material/upload:", expanded=not found):
        st.caption(t("adapters.import_text"))
        locked = services().read_only
        file = st.file_uploader(t("adapters.file"), type=["zip"], help=t("adapters.file_help"), disabled=locked)
        left, middle, right = st.columns(3)
        can_type = file is None and services().person.may(ADMIN)
        path = left.text_input(t("adapters.path"), help=t("adapters.path_help"), disabled=locked or not can_type)
        usable = [model.id for model in models.list_models(services()) if model.problem is None]
        model = middle.selectbox(t("adapters.model"), usable, help=t("adapters.model_help"))
        name = right.text_input(t("adapters.name"), value=Path(file.name).stem if file else Path(path.strip(" \"'")).name)
        if st.button(t("adapters.import_now"), icon=":material/upload:", disabled=not (file or path.strip()) or locked):
            source = adapters.keep_upload(services(), file.getbuffer(), name) if file else path
            adapters.start_import(services(), source, name, str(model), uploaded=file is not None)
            st.rerun()


st.title(t("adapters.title"))
st.write(t("adapters.intro"))
draw_undo()
found = adapters.list_adapters(services())
if not found:
    st.info(t("adapters.empty"), icon=":material/info:")
    link_to("home", t("compare.to_home"))
elif selected := draw_adapters(found):
    with guarded():
        draw_actions(selected)
else:
    st.caption(t("adapters.select"))
with guarded():
    draw_import()
    draw_jobs(("import_adapter",), lambda job: st.success(t("adapters.imported", name=as_text(job.result["name"]))), shown=3)
