"""`tunesmith rewards …`: list the reward functions, try those of a run's settings before it starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli_output import Json, open_services, report
from tunesmith.i18n.catalog import error_words, t
from tunesmith.services import rewards, training
from tunesmith.services.attachments import rewards_folder
from tunesmith.services.rewards import Trial
from tunesmith.settings.files import read_text_file

app = typer.Typer(no_args_is_help=True, help="Reward functions: list them, try them on rows.")


@app.command(name="list")
def list_functions(json: Json = False) -> None:
    """List the built-in functions and those of the rewards folder."""
    with open_services() as services:
        custom, problems = rewards.custom_functions(services)
        folder = str(rewards_folder(services))
    record = {"built_in": rewards.built_in(), "custom": custom, "folder": folder, "problems": [e.as_record() for e in problems]}
    lines = [f"{name:<16} {t(f'reward_help.{name}')}" for name in rewards.built_in()]
    lines += [*custom, *(f"! {error_words(e.code, e.facts, 'en')}" for e in problems), t("rewards.own_files", folder=folder)]
    report(record, json, "\n".join(lines))


@app.command(name="try")
def try_functions(
    config: Annotated[Path, typer.Argument(help="YAML file with the run's settings.")],
    rows: Annotated[int, typer.Option(help="How many rows.", min=1, max=rewards.MOST_ROWS)] = 5,
    answers: Annotated[int, typer.Option(help="Answers of the model to each row.", min=0, max=rewards.MOST_ANSWERS)] = 8,
    completion: Annotated[list[str] | None, typer.Option(help="An answer of your own, scored for every row; may be repeated.")] = None,
    json: Json = False,
) -> None:
    """Score answers to the first rows by a YAML file's reward functions; exit code 2 when one fails, 1 when junk fools them."""
    chosen = training.parse_config(read_text_file(config))
    with open_services() as services:
        trial = rewards.try_on_rows(services, chosen, rows, answers, completion or ())
    failed = [f for f in trial.functions if f.failed]
    report(_as_record(trial), json, "\n".join(_lines(trial)))
    raise SystemExit(2 if failed else 1 if any(junk.is_fooled for junk in trial.junk) else 0)


def _as_record(trial: Trial) -> dict[str, Any]:
    functions = [
        {
            **dataclasses.asdict(dataclasses.replace(f, failed=None)),
            "failed": f.failed.as_record() if f.failed else None,
            "constant": f.is_constant,
        }
        for f in trial.functions
    ]
    junk = [{**dataclasses.asdict(each), "fooled": each.is_fooled} for each in trial.junk]
    return {"functions": functions, "junk": junk, "alike": trial.alike, "answers": [dataclasses.asdict(a) for a in trial.answers]}


def _lines(trial: Trial) -> list[str]:
    lines = []
    for figures in trial.functions:
        told = f"mean {figures.mean:.3f}  deviation {figures.deviation:.3f}" if figures.mean is not None else "-"
        lines.append(f"{figures.name:<16} {told}  {figures.coverage:.0%}")
        if figures.failed:
            lines.append(f"✗ {error_words(figures.failed.code, figures.failed.facts, 'en')}")
    for junk in trial.junk:
        lines.append(f"{'!' if junk.is_fooled else ' '} {t(f'junk.{junk.kind}')}: {junk.reward:.3f} / {junk.best:.3f}")
    return lines
