"""The view "benchmarks" of the Evaluate page: tasks asked of several variants, and what came out. Knows the benchmarks service."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from tunesmith.errors import UserError
from tunesmith.evaluation.benchmark_tasks import BenchmarkRules
from tunesmith.i18n.markdown import as_text
from tunesmith.jobs.job import Job
from tunesmith.services import benchmarks, jobs
from tunesmith.services.benchmarks import BenchmarkResult, Cell, Place
from tunesmith.services.variants import VariantInfo, list_variants
from tunesmith.settings.files import from_mapping
from tunesmith.ui.downloads import draw_download
from tunesmith.ui.forms import draw_fields
from tunesmith.ui.job_view import draw_jobs
from tunesmith.ui.messages import describe, show_error
from tunesmith.ui.session import services, t
from tunesmith.ui.variant_choice import choose_variants, record_titles

SAMPLES_SHOWN = 500


def draw_benchmarks() -> None:
    """Draw the choice of variants and tasks, and the benchmarks there are."""
    st.caption(t("benchmark.about"))
    if not benchmarks.is_installed():
        st.info(t("benchmark.not_installed"), icon=":material/extension:")
        st.code(benchmarks.install_command(), language="sh")
    else:
        _draw_form()
    draw_jobs((benchmarks.KIND,), _draw_result, shelf=jobs.EVALUATIONS, resume=lambda job_id: benchmarks.resume(services(), job_id))
    if not jobs.list_jobs(services(), benchmarks.KIND, most=1, shelf=jobs.EVALUATIONS):
        st.caption(t("benchmark.none_yet"))


def _draw_form() -> None:
    chosen = choose_variants(t("benchmark.variants"), "benchmark-variants", _first_choice(), benchmarks.MOST_VARIANTS, checkpoints=True)
    local = benchmarks.local_tasks(services())
    titles = {task.name: t("benchmark.task_title", name=task.name, rows=task.rows) for task in local if not task.problem}
    left, right = st.columns([3, 2])
    files = left.multiselect(
        t("benchmark.files"), list(titles), default=list(titles)[:2], format_func=lambda name: titles[name],
        help=t("benchmark.files_help", folder=str(benchmarks.tasks_folder(services()))), key="benchmark-files",
    )  # fmt: skip
    names = right.text_input(t("benchmark.names"), help=t("benchmark.names_help"), placeholder="arc_easy hellaswag", key="benchmark-names")
    for task in local:
        if task.problem:
            st.warning(f"{as_text(task.path.name)}: {describe(task.problem)}", icon=":material/warning:")
    if names.strip():
        st.info(t("benchmark.downloads"), icon=":material/download:")
    values = draw_fields(BenchmarkRules(), "benchmark", advanced=False, options={}, columns=3)
    with st.expander(t("training.advanced"), icon=":material/tune:"):
        values |= draw_fields(BenchmarkRules(), "benchmark", advanced=True, options={}, columns=3)
    if st.button(t("benchmark.start"), type="primary", icon=":material/play_arrow:", disabled=services().read_only):
        _start(chosen, [*files, *names.replace(",", " ").split()], values)


def _start(chosen: list[VariantInfo], tasks: list[str], values: dict[str, Any]) -> None:
    try:
        benchmarks.start(services(), chosen, tasks, from_mapping(BenchmarkRules, values))
    except UserError as error:
        show_error(error)
        return
    st.rerun()


def _first_choice() -> list[str]:
    """Return whom the address names, or the newest adapter, and its base."""
    known = list_variants(services())
    asked = st.query_params.get("variant", "")
    adapter = next((v for v in known if v.key == asked), None) or next((v for v in known if v.adapter_path), None)
    base = next((v for v in known if v.kind == "model" and (adapter is None or v.model_path == adapter.model_path)), None)
    return [v.key for v in (base, adapter) if v]


def _draw_result(job: Job) -> None:
    result = benchmarks.read_result(job)
    names = record_titles(result.variants.values())
    st.dataframe(_table(result, names), hide_index=True, width="stretch")
    st.caption(t("benchmark.legend"))
    if result.has_differences:
        st.markdown(f"**{t('benchmark.differences')}**")
        st.dataframe(_difference_table(result, names), hide_index=True, width="stretch")
        st.caption(t("benchmark.differences_legend"))
    if job.request["rules"]["limit"]:
        st.warning(t("benchmark.limited", rows=job.request["rules"]["limit"]), icon=":material/content_cut:")
    for key, count in result.truncated.items():
        if count:
            st.warning(t("benchmark.truncated", name=as_text(names[key]), count=count), icon=":material/content_cut:")
    _draw_samples(job, result, names)
    left, right = st.columns(2)
    with left:
        draw_download(t("benchmark.download"), benchmarks.report_json(job), f"benchmark-{job.id}.json")
    with right:
        draw_download(t("benchmark.download_rows"), lambda _: benchmarks.samples_file(job).read_bytes(), f"benchmark-{job.id}.jsonl")


def _table(result: BenchmarkResult, names: dict[str, str]) -> pd.DataFrame:
    """Return tasks down, variants across: value ± standard error."""
    rows = []
    for place, cells in result.cells.items():
        any_cell = next(iter(cells.values()))
        rows.append(
            _first_columns(place, result) | {t("benchmark.rows"): any_cell.rows, t("benchmark.examples"): any_cell.num_fewshot}
            | {names[key]: _show(cell) for key, cell in cells.items()}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _difference_table(result: BenchmarkResult, names: dict[str, str]) -> pd.DataFrame:
    rows = [
        _first_columns(place, result) | {names[key]: _show_difference(cell) for key, cell in cells.items() if cell.difference is not None}
        for place, cells in result.cells.items()
    ]  # fmt: skip
    return pd.DataFrame([row for row in rows if len(row) > 2])


def _first_columns(place: Place, result: BenchmarkResult) -> dict[str, str]:
    task, metric, chosen = place
    arrow = {True: " ↑", False: " ↓", None: ""}[result.higher_is_better[place]]
    return {t("benchmark.task"): task, t("benchmark.metric"): f"{metric}{'' if chosen == 'none' else f' ({chosen})'}{arrow}"}


def _show(cell: Cell) -> str:
    return f"{cell.value:.4g}" + (f" ± {cell.stderr:.2g}" if cell.stderr is not None else "")


def _show_difference(cell: Cell) -> str:
    bounds = "" if cell.low is None or cell.high is None else f" [{cell.low:+.3g}, {cell.high:+.3g}]"
    return f"{cell.difference:+.3g}{bounds}{' *' if cell.surely_differs else ''}"


def _draw_samples(job: Job, result: BenchmarkResult, names: dict[str, str]) -> None:
    """Draw a task's rows: the answers of all variants beside what was expected; the prompt of the row that is selected."""
    asked = list(dict.fromkeys((task, chosen) for task, _, chosen in result.cells))
    with st.popover(t("benchmark.samples"), icon=":material/table_rows:", width="stretch"):
        place = st.selectbox(
            t("benchmark.task"), asked, format_func=lambda asked: " · ".join(word for word in asked if word != "none"), key=f"task-{job.id}"
        )
        rows = benchmarks.read_samples(job, *place)
        table = [
            {"#": number, t("benchmark.expected"): next(iter(row.values()))["expected"]}
            | {names[key]: sample["answer"] for key, sample in row.items()}
            for number, row in list(rows.items())[:SAMPLES_SHOWN]
        ]  # fmt: skip
        event = st.dataframe(
            pd.DataFrame(table), hide_index=True, width="stretch", on_select="rerun", selection_mode="single-row", key=f"rows-{job.id}"
        )
        if len(rows) > SAMPLES_SHOWN:
            st.caption(t("benchmark.more_rows", shown=SAMPLES_SHOWN, rows=len(rows)))
        for chosen in event.selection.rows[:1]:
            for key, sample in rows[table[chosen]["#"]].items():
                st.caption(as_text(names[key]))
                st.code(sample["prompt"], language=None, wrap_lines=True)
