"""What every command of the command line does alike: open the services, wait for a job, report as text or as JSON."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import time
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
import typer

from tunesmith.errors import UserError
from tunesmith.i18n.catalog import t
from tunesmith.jobs.job import Job
from tunesmith.services import context, jobs
from tunesmith.services.context import Services
from tunesmith.settings.files import from_mapping
from tunesmith.system.paths import typed_path

POLL_SECONDS = 0.2
Json = Annotated[bool, typer.Option("--json", help="Report as JSON.")]


@contextmanager
def open_services() -> Iterator[Services]:
    """Yield the services of this command and give them back at its end."""
    services = context.build_services()
    try:
        yield services
    finally:
        services.close()


def report(record: Any, as_json: bool, text: str) -> None:
    """Print the record as JSON, or the text."""
    typer.echo(orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY).decode() if as_json else text)


def follow_job(services: Services, job_id: str, quiet: bool, shelf: str = jobs.JOBS) -> Job:
    """Wait for a job's end, its phases told on the error stream, and return it."""
    told = ""
    while not (job := jobs.find_job(services, job_id, shelf)).ended:
        if not quiet and job.phase and (line := f"{t(f'phase.{job.phase}', 'en')} {job.share:.0%}") != told:
            told = line
            sys.stderr.write(f"{line}\n")
        time.sleep(POLL_SECONDS)
    return job


def finish_kept(services: Services, job_id: str, quiet: bool, command: str) -> Job:
    """Wait for a job of the evaluations' shelf and return it completed; an interrupt cancels it. Raises the job's UserError, `job_failed`.

    When it has not completed, the error stream says how it goes on.
    """
    try:
        job = follow_job(services, job_id, quiet, jobs.EVALUATIONS)
    except KeyboardInterrupt:
        jobs.cancel(services, job_id, jobs.EVALUATIONS)
        sys.stderr.write(f"{t('cli.goes_on', 'en', command=command, job=job_id)}\n")
        raise SystemExit(130) from None
    if job.status != "completed":
        sys.stderr.write(f"{t('cli.goes_on', 'en', command=command, job=job_id)}\n")
        raise job.error or UserError("job_failed", kind=job.status, reason=job.id)
    return job


def as_id(name: str) -> str:
    """Return a path for what is a file, a model folder or a data folder here; anything else is an id."""
    path = typed_path(name)
    own = path.is_file() or "/" in str(path) or any((path / inside).exists() for inside in ("config.json", "train.jsonl"))
    return str(path.resolve()) if name and own and path.exists() else name


def with_settings(settings: type[Any], parameter: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of a settings dataclass; it gets them checked, as one value, in that parameter."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints, fields = typing.get_type_hints(settings), dataclasses.fields(settings)

        @functools.wraps(command)
        def run(**values: Any) -> None:
            chosen = {field.name: values.pop(field.name) for field in fields}
            command(**values, **{parameter: from_mapping(settings, chosen)})

        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.name != parameter]
        made = [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default,
                annotation=Annotated[hints[field.name], typer.Option(help=_help(field))],
            )
            for field in fields
        ]  # fmt: skip
        run.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
        return run

    return decorate


def read_secret(question: str) -> str:
    """Return a secret, typed unseen or from the standard input: an argument could be read by others on this computer."""
    return str(typer.prompt(question, hide_input=True)) if sys.stdin.isatty() else sys.stdin.read().strip()


def _help(field: dataclasses.Field[Any]) -> str:
    choices = ", ".join(field.metadata["choices"])
    return f"{field.metadata['help']} ({choices})" if choices else str(field.metadata["help"])
