"""Brings runs in from files: packages of ours, logs of other tools. Knows the import service, no formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.i18n.markdown import as_text
from tunesmith.jobs.job import Job
from tunesmith.services import models, run_imports, uploads
from tunesmith.services.run_packages import ImportedRun
from tunesmith.ui.frame import open_run
from tunesmith.ui.job_view import draw_jobs
from tunesmith.ui.messages import describe, show_error
from tunesmith.ui.run_files import draw_packed
from tunesmith.ui.session import services, t

TYPES = ("zip", "txt", "log", "json", "jsonl", "csv", "tsv")
IMPORTED = "imported_runs"


def draw_run_import() -> None:
    """Draw the menu that brings runs in, and below it what the last import brought."""
    generation = st.session_state.get("run_import", 0)
    menu = st.popover(  # a new key after an import: the menu closes over what it brought
        t("run_import.button"), icon=":material/upload:", help=t("run_import.button_help"), disabled=services().read_only,
        key=f"run-import-menu-{generation}",
    )  # fmt: skip
    with menu:
        st.write(t("run_import.text"))
        file = st.file_uploader(t("run_import.file"), type=list(TYPES), key=f"run-import-{generation}", help=t("run_import.file_help"))
        name, model, adapter = _draw_log_fields(generation) if file and not _is_package(file.name) else ("", "", None)
        if st.button(t("run_import.start"), type="primary", disabled=file is None):
            _bring(file, name, model, adapter)
    _draw_brought()


def _is_package(name: str) -> bool:
    return Path(name).suffix.lower() == run_imports.PACKAGE_SUFFIX


def _draw_log_fields(generation: int) -> tuple[str, str, Any]:
    """Draw what a log does not tell: the run's name, its base, its adapter."""
    name = st.text_input(t("run_import.name"), key=f"run-import-name-{generation}", help=t("run_import.name_help"))
    unknown = t("run_import.model_unknown")
    known = [model.id for model in models.list_models(services()) if model.problem is None]
    model = st.selectbox(
        t("run_import.model"), ["", *known], format_func=lambda each: each or unknown,
        key=f"run-import-model-{generation}", help=t("run_import.model_help"),
    )  # fmt: skip
    adapter = st.file_uploader(
        t("run_import.adapter"), type=["zip"], key=f"run-import-adapter-{generation}", help=t("run_import.adapter_help")
    )
    return name, model, adapter


def _bring(file: Any, name: str, model: str, adapter: Any) -> None:
    bar = st.progress(0.0, text=t("run_import.working"))
    path = None
    try:
        if adapter and not model:
            raise UserError("import_adapter_needs_model", adapter=adapter.name)
        path = uploads.hold(services(), [(file.name, file)])
        found, _ = run_imports.import_file(
            services(), path, name or Path(file.name).stem, model, progress=lambda share: bar.progress(share, text=t("run_import.working"))
        )
        if adapter:
            kept = uploads.hold(services(), [(adapter.name, adapter)])
            run_imports.start_adapter(services(), found[0], kept, model, uploaded=True)
    except UserError as error:
        bar.empty()
        show_error(error)
        return
    finally:
        if path:
            uploads.drop(services(), path)
    st.session_state[IMPORTED] = found
    st.session_state["run_import"] = st.session_state.get("run_import", 0) + 1  # an empty form again
    st.rerun()


def _draw_brought() -> None:
    found: list[ImportedRun] = st.session_state.get(IMPORTED, [])
    if found:
        with st.container(border=True):
            st.success(t("run_import.done", n=len(found)), icon=":material/check_circle:")
            for note in {str(note): note for run in found for note in run.notes}.values():
                st.warning(describe(note), icon=":material/info:")
            with st.container(horizontal=True):
                for run in found[:5]:
                    if st.button(t("run_import.open", name=as_text(run.name)), key=f"imported-{run.id}", icon=":material/open_in_new:"):
                        del st.session_state[IMPORTED]
                        open_run(run.id)
                if st.button(t("job.forget"), key="imported-forget", icon=":material/close:"):
                    del st.session_state[IMPORTED]
                    st.rerun()
    draw_jobs(("adopt_adapter",), _draw_adapter, shown=2)
    draw_packed()


def _draw_adapter(job: Job) -> None:
    st.caption(t("run_import.adapter_ready", name=as_text(job.result["name"])))
