"""`tunesmith benchmark`: tasks of lm-eval, and task files, asked of variants. Calls the same services as the page."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from tunesmith.cli_output import Json, finish_kept, open_services, report
from tunesmith.evaluation.benchmark_tasks import BenchmarkRules
from tunesmith.jobs.job import Job
from tunesmith.services import benchmarks
from tunesmith.services.variants import find_variant, plain_names
from tunesmith.settings.files import from_mapping

DEFAULTS = BenchmarkRules()


def benchmark(
    variant: Annotated[
        list[str] | None, typer.Option(help="Who is asked: a model's or adapter's id, checkpoint:RUN/STEP, with @STRENGTH.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="A task file or folder, the name of a shipped one, or of a task of lm-eval.")
    ] = None,
    fewshot: Annotated[int, typer.Option(help="Examples before each question; -1: each task's own.")] = DEFAULTS.num_fewshot,
    limit: Annotated[int, typer.Option(help="Rows per task; 0: all.")] = DEFAULTS.limit,
    chat_template: Annotated[bool, typer.Option(help="Ask in the prompt format.")] = DEFAULTS.chat_template,
    seed: int = DEFAULTS.seed,
    longest: Annotated[int, typer.Option(help="Longest input in tokens.")] = DEFAULTS.longest,
    resume: Annotated[str, typer.Option(help="The id of a benchmark that goes on; nothing else is needed.")] = "",
    json: Json = False,
) -> None:
    """Ask variants benchmark tasks; figures with standard errors, and the difference to the base where it is asked too."""
    values = {"num_fewshot": fewshot, "limit": limit, "chat_template": chat_template, "seed": seed, "longest": longest}
    with open_services() as services:
        job_id = resume
        if resume:
            benchmarks.resume(services, resume)
        else:
            chosen = [find_variant(services, key) for key in variant or ()]
            job_id = benchmarks.start(services, chosen, task or (), from_mapping(BenchmarkRules, values))
        job = finish_kept(services, job_id, json, "tunesmith benchmark")
    _report_result(job, json)


def _report_result(job: Job, json: bool) -> None:
    result = benchmarks.read_result(job)
    names = plain_names(result.variants.values())
    records, lines = [], []
    for (task, metric, chosen), cells in result.cells.items():
        for key, cell in cells.items():
            records.append({"variant": key, "task": task, "metric": metric, "filter": chosen, **dataclasses.asdict(cell)})
            stderr = "" if cell.stderr is None else f"± {cell.stderr:.4f}"
            change = "" if cell.difference is None else f"{cell.difference:+.4f}"
            lines.append(f"{task:<28} {metric:<14} {names[key]:<28} {cell.value:.4f} {stderr:<9} {change:<8} n={cell.rows}")
    record = {"job": job.id, "status": job.status, "figures": records, "truncated": result.truncated, "folder": str(job.folder)}
    report(record, json, "\n".join(lines))
