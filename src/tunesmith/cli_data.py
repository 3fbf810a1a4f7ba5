"""The command line for data sets: `tunesmith data …`, the same services as the Dataset page. Words come from the catalogue."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli_output import Json, open_services, report
from tunesmith.data.readers.text_encoding import read_text
from tunesmith.data.synthesis import SynthesisRules
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import error_words, problem_words, t
from tunesmith.jobs.generation import Generation
from tunesmith.services import dataset_versions, datasets, synthesis
from tunesmith.services.context import Services
from tunesmith.system.endpoint import Endpoint
from tunesmith.system.paths import typed_path

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Look at, bring, clean and divide data sets.")
File = Annotated[str, typer.Argument(help="A file or folder: JSONL, JSON, CSV, TSV, Parquet, Excel, text, Markdown, gzip or zip of these.")]
Kind = Annotated[str, typer.Option(help="What the rows are, when their column names do not tell: prompt_completion, text, preference …")]
Columns = Annotated[list[str] | None, typer.Option("--column", help="role=column, once per role: --column prompt=question.")]
Dataset = Annotated[str, typer.Argument(help="Data set id.")]
SHOWN_PROBLEMS = 20
POLL_SECONDS = 0.25


@app.callback()
def data() -> None:
    """Look at, bring, clean and divide data sets."""


def _mapping(kind: str, columns: list[str] | None) -> dict[str, Any] | None:
    if not kind and not columns:
        return None
    pairs = [column.partition("=") for column in columns or []]
    if not kind or any(not found for _, found, _ in pairs):
        raise UserError("mapping_option", kind=kind or "-", columns=", ".join(columns or []) or "-")
    return {"kind": kind, "columns": {role.strip(): column.strip() for role, _, column in pairs}}


def _progress(quiet: bool) -> Callable[[float], None] | None:
    if quiet or not sys.stderr.isatty():
        return None
    return lambda share: typer.echo(f"\r{share:4.0%}", nl=share >= 1, err=True)


def _path(file: str) -> Path:
    path = typed_path(file)
    if not path.exists():
        raise UserError("data_file_missing", file=file)
    return path.resolve()


@app.command()
def inspect(file: File, kind: Kind = "", column: Columns = None, json: Json = False) -> None:
    """Tell what a file holds: rows, kinds, columns, methods, problems by line; exit code 2 when no row can be used."""
    try:
        found = dataset_versions.inspect_file(_path(file), _mapping(kind, column), _progress(json), most_rows=0)
    except UserError as error:
        report({"file": file, "rows": {}, "error": error.as_record()}, json, error_words(error.code, error.facts, "en"))
        raise SystemExit(2) from error
    lines = [
        f"{found.format}{f' ({found.encoding})' if found.encoding else ''}",
        f"rows     {_counts(found.rows)}", f"kinds    {_counts(found.kinds)}", f"columns  {', '.join(found.columns)}",
        f"methods  {', '.join(found.methods) or '-'}",
    ]  # fmt: skip
    if found.problem_counts:
        lines += [f"problems {_counts(found.problem_counts)}", *_problem_lines(found.problems)]
    report({"file": file, **dataclasses.asdict(found)}, json, "\n".join(lines))
    raise SystemExit(0 if found.rows else 2)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "-"


def _problem_lines(problems: list[dict[str, Any]]) -> list[str]:
    shown = [
        f"  {p['split']} {t('dataset.row', 'en', line=p['line'])}{' ' + p['field'] if p['field'] else ''}: "
        + problem_words(p["code"], p["facts"], "en")
        for p in problems[:SHOWN_PROBLEMS]
    ]
    return shown + ([f"  … {len(problems) - SHOWN_PROBLEMS} more"] if len(problems) > SHOWN_PROBLEMS else [])


@app.command(name="import")
def import_file(
    file: File,
    name: Annotated[str, typer.Option(help="How the data set is called; the file's name by default.")] = "",
    kind: Kind = "",
    column: Columns = None,
    hub: Annotated[bool, typer.Option("--hub", help="FILE is a data set's name on the hub: owner/name or owner/name:config.")] = False,
    json: Json = False,
) -> None:
    """Keep a file's rows as a data set; works while the app is open."""
    with open_services() as services:
        if hub:
            made = dataset_versions.import_hub(services, file, _progress(json))
        else:
            made = dataset_versions.import_file(services, _path(file), name, _mapping(kind, column), _progress(json))
        _tell(services, made, json)


def _tell(services: Services, dataset_id: str, json: bool) -> None:
    version = dataset_versions.versions(services, dataset_id)[-1]
    census = version.record["census"]
    record = {"id": dataset_id, "version": version.number, "hash": version.hash, "rows": census["rows"], "left_out": census["left_out"]}
    words = t("cli.data_kept", "en", name=dataset_id, version=version.number, rows=_counts(census["rows"]), left_out=census["left_out"])
    report(record, json, words)


@app.command(name="list")
def list_data(json: Json = False) -> None:
    """List the data sets with their rows, versions and methods."""
    with open_services() as services:
        found = datasets.list_datasets(services)
    records = [
        {"id": d.id, "rows": d.rows, "kinds": d.kinds, "methods": list(d.methods), "version": d.version, "hash": d.hash, "owner": d.owner}
        for d in found
    ]
    report(records, json, "\n".join(f"{d.id:<32} {_counts(d.rows)}" for d in found))


@app.command()
def split(
    dataset: Dataset,
    valid: Annotated[float, typer.Option(help="Below 1 a share, from 1 on a number of rows.")] = 0.1,
    test: Annotated[float, typer.Option(help="Below 1 a share, from 1 on a number of rows.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same split.")] = 0,
    stratify: Annotated[str, typer.Option(help="A column whose values are as frequent in every split.")] = "",
    json: Json = False,
) -> None:
    """Divide a data set anew; rows with the same prompt stay together."""
    with open_services() as services:
        rules = {"valid": valid, "test": test, "seed": seed, "stratify": stratify}
        dataset_versions.split(services, dataset, rules, _progress(json))
        _tell(services, dataset, json)


@app.command()
def check(dataset: Dataset, json: Json = False) -> None:
    """Look for duplicates, leaks, secrets and whatever else spoils a fine-tune."""
    with open_services() as services:
        found = dataset_versions.check_quality(services, dataset, progress=_progress(json))
    lines = [f"{f.code:<24} {f.count:>8} rows  {t('quality.' + f.code, 'en')}" for f in found if f.count]
    report([dataclasses.asdict(f) for f in found], json, "\n".join(lines) or t("quality_page.nothing", "en"))


@app.command()
def clean(
    dataset: Dataset,
    drop: Annotated[list[str] | None, typer.Option(help="Code of a check whose rows go: near_duplicates, leakage …")] = None,
    normalise: Annotated[list[str] | None, typer.Option(help="A cleaning of texts: nfkc, strip_controls …")] = None,
    json: Json = False,
) -> None:
    """Make a cleaned version of a data set; earlier versions stay."""
    with open_services() as services:
        dataset_versions.clean(services, dataset, drop or [], normalise or [], progress=_progress(json))
        _tell(services, dataset, json)


@app.command()
def generate(
    source: Annotated[Path, typer.Argument(help="A text or Markdown file; with --seeds, one seed per line.")],
    kind: Annotated[str, typer.Option(help="qa, instruction, chat, summary or preference.")] = "qa",
    count: Annotated[int, typer.Option(help="Rows wanted.")] = 50,
    name: Annotated[str, typer.Option(help="How the data set is called.")] = "",
    seeds: Annotated[bool, typer.Option("--seeds", help="Each line of the file is a seed.")] = False,
    endpoint: Annotated[str, typer.Option(help="Address of a chat endpoint, such as http://127.0.0.1:8080/v1.")] = "",
    model: Annotated[str, typer.Option(help="The model's name at the endpoint, or a local model's id.")] = "demo",
    key: Annotated[str, typer.Option(help="Name of the environment variable that holds the endpoint's key.")] = "",
    tests: Annotated[str, typer.Option(help="A data set whose held-out rows must not be asked.")] = "",
    json: Json = False,
) -> None:
    """Let a model write rows from a document or from seeds, and keep them as a data set; Ctrl-C ends it, the rows stay."""
    if not source.is_file():
        raise UserError("file_missing", file=str(source))
    sources = synthesis.sources_of(read_text(source), as_document=not seeds)
    with open_services() as services:
        asked = Endpoint(endpoint, model, key) if endpoint else None
        rules = SynthesisRules(kind=kind, count=count)
        started = synthesis.start(services, rules, sources, endpoint=asked, model_id=model, tests=tests)
        found = _follow(services, started, json)
        if found.error:
            raise found.error
        made = synthesis.keep(services, started, name or f"{kind}-{source.stem}")
        _tell(services, made, json)


def _follow(services: Services, generation_id: str, quiet: bool) -> Generation:
    shown = -1
    try:
        while (found := synthesis.find_generation(services, generation_id)).status == "running":
            if not quiet and found.accepted != shown:
                shown = found.accepted
                typer.echo(f"{shown}/{found.wanted} rows, {sum(found.rejected.values())} refused", err=True)
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        synthesis.cancel(services, generation_id)
        while (found := synthesis.find_generation(services, generation_id)).status == "running":
            time.sleep(POLL_SECONDS)
    return found
