"""Reports as files to take along: a zip with Markdown, pictures, figures and settings, or one HTML page. Knows no browser."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

from tunesmith.reports.blocks import PICTURES, Report, to_html, to_markdown
from tunesmith.reports.run_report import config_name, write_run_report
from tunesmith.reports.runs_report import write_runs_report
from tunesmith.services import runs
from tunesmith.services.context import Services
from tunesmith.services.run_metrics import metrics_csv

REPORT, METRICS = "report.md", "metrics.csv"


def write_report(s: Services, run_ids: Sequence[str], lang: str) -> Report:
    """Return the report of one run or of several. Raises UserError `run_unknown`, `store_file_unreadable`."""
    ids = list(dict.fromkeys(run_ids))
    return write_run_report(s, ids[0], lang) if len(ids) == 1 else write_runs_report(s, ids, lang)


def report_page(s: Services, run_ids: Sequence[str], lang: str) -> str:
    """Return the report as one HTML page. Raises as `write_report` does."""
    return to_html(write_report(s, run_ids, lang), lang)


def report_zip(s: Services, run_ids: Sequence[str], lang: str) -> bytes:
    """Return the report as a zip file: Markdown, its pictures, all metrics as CSV, each run's settings. Raises as `write_report` does."""
    report = write_report(s, run_ids, lang)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(REPORT, to_markdown(report))
        for picture in report.pictures:
            archive.writestr(f"{PICTURES}/{picture.file}", picture.svg)
        archive.writestr(METRICS, metrics_csv(s, run_ids))
        for run_id in dict.fromkeys(run_ids):
            archive.writestr(config_name(run_id), runs.config_yaml(s, run_id))
    return buffer.getvalue()
