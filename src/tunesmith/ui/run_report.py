"""Takes a run or several along: report, figures, package; and does a run again as it was. Knows the services, no formats."""

from __future__ import annotations

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.reports.files import report_page, report_zip
from tunesmith.services import run_facts
from tunesmith.services.run_metrics import metrics_csv
from tunesmith.ui.downloads import draw_download
from tunesmith.ui.frame import open_run
from tunesmith.ui.messages import describe, guarded, show_error, toast
from tunesmith.ui.run_files import draw_package
from tunesmith.ui.session import language, services, t


def draw_take_along(run_ids: list[str], ended: bool = True) -> None:
    """Draw the menu of what can be taken along of one run or several; a package only of runs that have ended."""
    key = "-".join(run_ids)
    name = run_ids[0] if len(run_ids) == 1 else f"runs-{len(run_ids)}"
    lang = language()
    with st.popover(t("report.button"), icon=":material/description:", help=t("report.button_help")):
        draw_download(
            t("report.html"), lambda s: report_page(s, run_ids, lang), f"{name}-report.html",
            icon="article", key=f"html-{key}", width="stretch", help=t("report.html_help"),
        )  # fmt: skip
        draw_download(
            t("report.markdown"), lambda s: report_zip(s, run_ids, lang), f"{name}-report.zip",
            icon="folder_zip", key=f"markdown-{key}", width="stretch", help=t("report.markdown_help"),
        )  # fmt: skip
        draw_download(
            t("report.csv"), lambda s: metrics_csv(s, run_ids), f"{name}-metrics.csv",
            icon="table", key=f"csv-{key}", width="stretch", help=t("report.csv_help"),
        )  # fmt: skip
        if ended:
            st.divider()
            st.caption(t("package.text"))
            draw_package(run_ids, key)


def draw_rerun(run_id: str) -> None:
    """Draw a way to do a run again as it was, with what is other now."""
    menu = st.popover(t("rerun.button"), icon=":material/repeat:", help=t("rerun.help"), on_change="rerun", key=f"rerun-menu-{run_id}")
    if not menu.open:
        return  # to compare the data is to read it
    with menu:
        with guarded():
            changes = run_facts.changes_since(services(), run_id)
            for change in changes:
                st.warning(describe(change), icon=":material/info:")
            st.caption(t("rerun.text") if changes else t("rerun.same"))
        if st.button(t("rerun.start"), type="primary", key=f"rerun-{run_id}", disabled=services().read_only):
            try:
                started = run_facts.rerun(services(), run_id)
            except UserError as error:
                show_error(error)
            else:
                toast(t("training.started"))
                open_run(started)
