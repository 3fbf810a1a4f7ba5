"""`tunesmith runs …`: list the experiments, lay them side by side, carry them out and in."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import typer

from tunesmith.cli_output import Json, follow_job, open_services, report
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import error_words, t
from tunesmith.reports.files import report_page, report_zip
from tunesmith.services import experiments, overlays, run_imports, run_packages, run_settings
from tunesmith.services.context import Services
from tunesmith.services.experiments import ExperimentRow
from tunesmith.services.run_metrics import metrics_csv
from tunesmith.store.files import write_atomic
from tunesmith.system.paths import typed_path

app = typer.Typer(help="Experiments: list them, compare them, carry them out and in.")
LONGEST_HEADING = 40  # characters; the ids below tell runs apart
Runs = Annotated[list[str], typer.Argument(help="The runs' ids.")]


@app.callback(invoke_without_command=True)
def list_runs(context: typer.Context, json: Json = False) -> None:
    """List the experiments, newest first."""
    if context.invoked_subcommand:
        return
    with open_services() as services:
        rows = experiments.table(services)
    records = [
        {k: v for k, v in dataclasses.asdict(row).items() if k != "sparkline"} | {"error": row.error.as_record() if row.error else None}
        for row in rows
    ]
    lines = [f"{row.id}  {row.status:<12} {_outcome(row):<14} {row.name}" for row in rows]
    report(records, json, "\n".join(lines) or t("cli.no_runs", "en"))


def _outcome(row: ExperimentRow) -> str:
    """Return the figure by which a list judges a run: its reward, or else its loss."""
    return f"reward {show_figure(row.reward)}" if row.reward is not None else f"loss {show_figure(row.final_loss)}"


@app.command(name="diff")
def diff_runs(
    runs: Runs,
    all_settings: Annotated[bool, typer.Option("--all", help="Print the settings too in which the runs are alike.")] = False,
    json: Json = False,
) -> None:
    """Print in which settings runs differ from the first one, and their figures side by side."""
    chosen = list(dict.fromkeys(runs))
    with open_services() as services:
        lines = run_settings.compare_settings(services, chosen)
        figures = overlays.figures_of(services, chosen)
        names = [experiments.name_of(services, run) for run in chosen]
    shown = lines if all_settings else run_settings.differing(lines)
    record = {
        "runs": chosen, "names": names, "settings": [dataclasses.asdict(line) | {"differs": line.differs} for line in shown],
        "figures": [dataclasses.asdict(line) for line in figures],
    }  # fmt: skip
    report(record, json, _as_text(chosen, names, shown, figures))


def _as_text(runs: list[str], names: list[str], lines: list[run_settings.SettingLine], figures: list[overlays.FigureLine]) -> str:
    table = [["", *(_short(name) for name in names)], ["id", *runs]]
    table += [
        [f"{line.section}.{line.name}" if line.section != "settings" else line.name, *map(run_settings.show_value, line.values)]
        for line in lines
    ]
    if not run_settings.differing(lines):
        table.append([t("cli.runs_alike", "en"), *([""] * len(runs))])
    table += [[f"{line.metric} {line.statistic}", *(show_figure(value) for value in line.values)] for line in figures]
    widths = [max(len(row[n]) for row in table) for n in range(len(runs) + 1)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_HEADING else f"{name[: LONGEST_HEADING - 1]}…"


def show_figure(value: float | None) -> str:
    """Return a figure with four digits."""
    return "–" if value is None else f"{value:.4g}"


@app.command(name="export")
def export_runs(
    runs: Runs,
    out: Annotated[Path, typer.Option(help="The file to write; one that is there is not replaced.")],
    format: Annotated[
        Literal["zip", "report", "html", "csv"],
        typer.Option(
            help="zip: whole runs for another Tunesmith. report: Markdown with pictures, as zip. html: one page. csv: the figures."
        ),
    ] = "zip",
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Pack the saved states too.")] = False,
    lang: Annotated[Literal["en", "ja"], typer.Option(help="The report's language.")] = "en",
    json: Json = False,
) -> None:
    """Write runs to a file: as a package, a report, or figures."""
    target = typed_path(str(out)).resolve()
    if target.exists():
        raise UserError("target_exists", name=target.name, folder=str(target.parent))
    if not target.parent.is_dir():
        raise UserError("folder_missing", folder=str(target.parent))
    with open_services() as services:
        if format == "zip":
            run_packages.pack_into(services, runs, target, checkpoints)
        else:
            write_atomic(target, _written(services, runs, format, lang))
    size = target.stat().st_size
    report({"out": str(target), "format": format, "runs": runs, "size_bytes": size}, json, str(target))


def _written(services: Services, runs: list[str], format: str, lang: str) -> bytes:
    if format == "report":
        return report_zip(services, runs, lang)
    return (report_page(services, runs, lang) if format == "html" else metrics_csv(services, runs)).encode()


@app.command(name="import")
def import_runs(
    files: Annotated[list[Path], typer.Argument(help="Packages (zip), or logs: mlx-lm's output, trainer_state.json, JSON lines, CSV.")],
    adapter: Annotated[Path | None, typer.Option(help="The adapter that a log's run made: a folder or a zip file.")] = None,
    model: Annotated[str, typer.Option(help="The base model of a log's run; needed with --adapter.")] = "",
    name: Annotated[str, typer.Option(help="The name of a log's run; the file's by default.")] = "",
    json: Json = False,
) -> None:
    """Bring runs in: each package as a whole or not at all, each log as a completed run."""
    found: list[run_packages.ImportedRun] = []
    with open_services() as services:
        for file in files:
            source, beside = typed_path(str(file)).resolve(), typed_path(str(adapter)).resolve() if adapter else None
            brought, job_id = run_imports.import_file(services, source, name, model, beside)
            found += brought
            if job_id and (job := follow_job(services, job_id, quiet=json)).error:
                raise job.error
    records = [{"id": run.id, "name": run.name, "former_id": run.former_id, "notes": [e.as_record() for e in run.notes]} for run in found]
    notes = {str(note): error_words(note.code, note.facts, "en") for run in found for note in run.notes}
    report(records, json, "\n".join([*(f"{run.id}  {run.name}" for run in found), *(f"! {words}" for words in notes.values())]))
