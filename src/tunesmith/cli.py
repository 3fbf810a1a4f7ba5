"""The command line: the same services as the pages. Words come from the catalogue; `--json` reports for programs."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tunesmith import (
    cli_benchmark,
    cli_compare,
    cli_data,
    cli_evaluate,
    cli_judge,
    cli_keys,
    cli_models,
    cli_oidc,
    cli_rewards,
    cli_runs,
    cli_serve,
)
from tunesmith.cli_output import Json, as_id, open_services, report
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import error_words, format_bytes, t
from tunesmith.services import home, models, runs, training
from tunesmith.services.context import Services
from tunesmith.settings.files import read_text_file
from tunesmith.training.config import TrainConfig

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Fine-tune language models with Apple MLX.")
app.add_typer(cli_data.app, name="data")
app.add_typer(cli_rewards.app, name="rewards")
app.add_typer(cli_runs.app, name="runs")
app.add_typer(cli_models.app, name="adapters")
app.add_typer(cli_models.models_app, name="models")
app.add_typer(cli_models.export_app, name="export")
app.add_typer(cli_serve.app, name="access")
cli_serve.app.add_typer(cli_oidc.app, name="oidc")
app.add_typer(cli_keys.app, name="keys")
app.command(name="serve")(cli_serve.serve)
app.command(name="benchmark")(cli_benchmark.benchmark)
app.command(name="compare")(cli_compare.compare_variants)
app.command(name="predict")(cli_evaluate.predict)
app.command(name="evaluate")(cli_evaluate.evaluate)
app.command(name="judge")(cli_judge.judge)
app.command(name="fuse")(cli_models.fuse)
app.command(name="quantize")(cli_models.quantize)
app.command(name="serve-model")(cli_models.serve_model)
app.command(name="list-data", hidden=True)(cli_data.list_data)  # older names of `data list` and `models list`
app.command(name="list-models", hidden=True)(cli_models.list_base_models)
POLL_SECONDS = 0.25


def main() -> None:
    """Run the command line; a person's error is one worded line and exit code 2."""
    try:
        app()
    except UserError as error:
        typer.echo(error_words(error.code, error.facts, "en"), err=True)
        raise SystemExit(2) from error


@app.command()
def quick(
    model: Annotated[str, typer.Argument(help="Model id or folder; the shipped one by default.")] = "",
    data: Annotated[str, typer.Argument(help="Data set id, or the path of a JSONL file or folder; the shipped one by default.")] = "",
    iters: Annotated[int | None, typer.Option(help="Number of steps.")] = None,
    json: Json = False,
) -> None:
    """Train now with good defaults and wait for the end; without arguments, the demo."""
    plain = home.demo_config() if not model and not data else TrainConfig(model=models.DEMO_MODEL_ID, data=home.DEMO_DATASET_ID)
    changes = {"model": as_id(model), "data": as_id(data), "iters": iters}
    _train_attached(dataclasses.replace(plain, **{k: v for k, v in changes.items() if v}), json)  # type: ignore[arg-type]


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file with the run's settings.")],
    model: Annotated[str, typer.Option(help="Model id or folder, instead of the file's.")] = "",
    data: Annotated[str, typer.Option(help="Data set id, JSONL file or folder, instead of the file's.")] = "",
    queue: Annotated[bool, typer.Option("--queue", help="Put the run in the queue of the running app and return.")] = False,
    json: Json = False,
) -> None:
    """Train by a YAML file and wait for the end; Ctrl-C leaves the run going."""
    chosen = _read_config(config, model, data)
    if not queue:
        _train_attached(chosen, json)
    with open_services() as services:
        run_id = training.submit(services, chosen)
    report({"id": run_id, "status": "queued"}, json, t("cli.queued", "en", run=run_id))


def _read_config(path: Path, model: str = "", data: str = "") -> TrainConfig:
    chosen = training.parse_config(read_text_file(path))
    return dataclasses.replace(chosen, model=as_id(model or chosen.model), data=as_id(data or chosen.data))


def _train_attached(config: TrainConfig, json: bool) -> NoReturn:
    with open_services() as services:
        run_id = training.submit(services, config)
        try:
            final = _follow(services, run_id, quiet=json)
        except KeyboardInterrupt:
            report({"id": run_id, "status": "running"}, json, t("cli.left_going", "en", run=run_id))
            raise SystemExit(130) from None
        adapter = str(services.store.folder(run_id).adapter) if final.adapter else None
    record = {
        "id": run_id, "status": final.status, "loss_first": final.train_loss_first, "loss_last": final.train_loss,
        "reward_first": final.first.get("val_reward"), "reward_last": final.figures.get("val_reward"),
        "seconds": final.elapsed_seconds, "adapter": adapter, "error": final.error.as_record() if final.error else None,
    }  # fmt: skip
    report(record, json, t(f"cli.ended.{final.status}", "en", run=run_id))
    if final.error:
        raise final.error
    raise SystemExit(0 if final.status == "completed" else 1)


@app.command()
def validate(config: Annotated[Path, typer.Argument(help="YAML file with the run's settings.")], json: Json = False) -> None:
    """Check a YAML file: settings, model, data, memory; exit code 2 when the run could not start."""
    chosen = _read_config(config)
    with open_services() as services:
        found = training.preview(services, chosen)
    found = dataclasses.replace(found, problems=[e for e in found.problems if e.code != "server_read_only"])  # an open app takes the run
    record = {
        "problems": [e.as_record() for e in found.problems], "warnings": [e.as_record() for e in found.warnings], "steps": found.steps,
        "epochs": found.epochs, "tokens": found.tokens, "rows": found.train_rows,
        "peak_memory_bytes": found.memory.peak_bytes if found.memory else None,
    }  # fmt: skip
    lines = [f"✗ {error_words(e.code, e.facts, 'en')}" for e in found.problems]
    lines += [f"! {error_words(e.code, e.facts, 'en')}" for e in found.warnings]
    if not found.problems:
        lines.append(t("cli.plan", "en", rows=found.train_rows, steps=found.steps, tokens=found.tokens, memory=show_memory(found)))
    report(record, json, "\n".join(lines))
    raise SystemExit(2 if found.problems else 0)


def show_memory(found: training.RunPreview) -> str:
    """Return the estimated peak as text."""
    return format_bytes(found.memory.peak_bytes) if found.memory else "?"


def _follow(services: Services, run_id: str, quiet: bool) -> runs.RunSnapshot:
    shown = -1
    while True:
        state = runs.snapshot(services, run_id)
        if not quiet and state.step != shown and state.train_loss is not None:
            shown = state.step
            told = f"reward {state.figures['reward']:.4f}" if "reward" in state.figures else f"loss {state.train_loss:.4f}"
            typer.echo(f"{state.step}/{state.iters}  {told}  {state.tokens_per_second or 0:.0f} tokens/s")
        if not state.active:
            return state
        time.sleep(POLL_SECONDS)


Run = Annotated[str, typer.Argument(help="The run's id.")]


@app.command()
def stop(run: Run, json: Json = False) -> None:
    """Stop a run; it saves what it has learned."""
    with open_services() as services:
        runs.stop(services, run)
    report({"id": run, "requested": "cancel"}, json, t("cli.stopping", "en", run=run))


@app.command()
def pause(run: Run, json: Json = False) -> None:
    """Pause a run: it saves its exact state and gives its memory back."""
    with open_services() as services:
        runs.pause(services, run)
    report({"id": run, "requested": "pause"}, json, t("cli.pausing", "en", run=run))


@app.command()
def resume(run: Run, json: Json = False) -> None:
    """Let a paused, stopped or broken-off run go on from its last saved state, and wait for its end."""
    with open_services() as services:
        runs.resume(services, run)
        final = _follow(services, run, quiet=json)
    record = {
        "id": run, "status": final.status, "loss_last": final.train_loss, "error": final.error.as_record() if final.error else None,
    }  # fmt: skip
    report(record, json, t(f"cli.ended.{final.status}", "en", run=run))
    if final.error:
        raise final.error
    raise SystemExit(0 if final.status == "completed" else 1)


@app.command()
def logs(run: Run, follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run has ended.")] = False) -> None:
    """Print a run's log."""
    with open_services() as services:
        path = services.store.folder(run).log
        shown = 0
        while True:
            active = runs.snapshot(services, run).active
            text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
            typer.echo(text[shown:], nl=False)
            shown = len(text)
            if not follow or not active:
                return
            time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
