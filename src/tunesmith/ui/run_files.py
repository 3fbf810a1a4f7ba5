"""A run's files on its page: what lies in its folder, one of them to take along, all of them as a package. Knows no formats."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from tunesmith.jobs.job import Job
from tunesmith.services import jobs, run_facts, run_packages
from tunesmith.services.run_facts import LARGEST_DOWNLOAD_BYTES, RunFile
from tunesmith.ui.downloads import draw_download
from tunesmith.ui.figures import show_bytes
from tunesmith.ui.job_view import draw_jobs
from tunesmith.ui.messages import guarded
from tunesmith.ui.session import services, t

SHOWN_PACKAGES = 3


def draw_files(run_id: str) -> None:
    """Draw the files as a table; the selected one can be downloaded."""
    found = run_facts.files_of(services(), run_id)
    total = sum(file.size_bytes for file in found)
    st.caption(t("run.files_total", n=len(found), size=show_bytes(total), folder=str(services().store.folder(run_id).path)))
    columns = {t("run.file"): [file.name for file in found], t("run.size"): [show_bytes(file.size_bytes) for file in found]}
    chosen = st.dataframe(
        pd.DataFrame(columns), hide_index=True, width="stretch", on_select="rerun", selection_mode="single-row", key=f"files-{run_id}"
    )
    rows = chosen["selection"]["rows"]
    if rows and rows[0] < len(found):
        _draw_download(run_id, found[rows[0]])
    else:
        st.caption(t("run.file_select"))


def _draw_download(run_id: str, file: RunFile) -> None:
    if file.size_bytes > LARGEST_DOWNLOAD_BYTES:
        st.info(t("run.file_large", file=str(file.path)), icon=":material/folder:")
        return
    saved = f"{run_id}-{file.name.replace('/', '-')}"
    draw_download(t("run.file_download", name=file.name), lambda _: file.path.read_bytes(), saved, key=f"file-{run_id}-{file.name}")


def draw_package(run_ids: list[str], key: str) -> None:
    """Draw a way to take whole runs along: at once when they are small, by a job when they are large."""
    checkpoints = st.toggle(t("package.checkpoints"), key=f"{key}-checkpoints", help=t("package.checkpoints_help"))
    with guarded():
        size = run_packages.size_of(services(), run_ids, checkpoints)
        name = f"{run_ids[0]}.zip" if len(run_ids) == 1 else f"runs-{len(run_ids)}.zip"
        words = t("package.download", size=show_bytes(size))
        if size <= run_packages.SMALL_BYTES:
            draw_download(
                words, lambda s: run_packages.pack_small(s, run_ids, checkpoints), name,
                icon="package_2", key=f"{key}-package", width="stretch",
            )  # fmt: skip
        elif st.button(
            t("package.start", size=show_bytes(size)), icon=":material/package_2:", key=f"{key}-start", width="stretch",
            disabled=services().read_only,
        ):  # fmt: skip
            run_packages.start_pack(services(), run_ids, checkpoints)
            st.rerun()


def draw_packed(run_id: str = "") -> None:
    """Draw the newest packages that are being made or were made; with a run's id, only where it is in one of them."""
    newest = jobs.list_jobs(services(), "pack_runs", most=SHOWN_PACKAGES)
    if not run_id or any(run_id == Path(path).name for job in newest for path in job.request["runs"]):
        draw_jobs(("pack_runs",), _draw_packed, shown=SHOWN_PACKAGES)


def _draw_packed(job: Job) -> None:
    st.caption(t("package.ready", size=show_bytes(job.result["size_bytes"])))
    st.link_button(t("common.download"), f"/downloads/{job.id}", icon=":material/download:")
