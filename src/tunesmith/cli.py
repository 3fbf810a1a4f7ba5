"""The command line: the same services as the pages. Words come from the catalogue; `--json` reports for programs."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from tunesmith.errors import UserError
from tunesmith.i18n.catalog import t
from tunesmith.services import context, experiments, home, runs, training
from tunesmith.services.context import Services
from tunesmith.system.paths import REPOSITORY

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Fine-tune language models with Apple MLX.")
Json = Annotated[bool, typer.Option("--json", help="Report as JSON.")]
POLL_SECONDS = 0.25


def main() -> None:
    """Run the command line; a person's error is one worded line and exit code 2."""
    try:
        app()
    except UserError as error:
        typer.echo(t(f"error.{error.code}", "en", **error.facts), err=True)
        raise SystemExit(2) from error


def _report(record: Any, as_json: bool, text: str) -> None:
    typer.echo(orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY).decode() if as_json else text)


def _require_free_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError("port_in_use", port=port) from error


@app.command()
def serve(port: Annotated[int | None, typer.Option(help="Port on 127.0.0.1; the settings' one by default.")] = None) -> None:
    """Open the app in a browser tab on this computer."""
    chosen = port or context.load_settings().port
    _require_free_port(chosen)
    typer.echo(t("cli.serving", "en", address=f"http://127.0.0.1:{chosen}"))
    command = [
        sys.executable, "-m", "streamlit", "run", str(REPOSITORY / "app.py"), "--server.port", str(chosen),
        "--server.address", "127.0.0.1", "--browser.serverAddress", "127.0.0.1",
    ]  # fmt: skip
    raise SystemExit(subprocess.run(command, cwd=REPOSITORY, env=os.environ, check=False).returncode)


@app.command()
def quick(
    model: Annotated[str, typer.Option(help="Model id or folder.")] = "",
    data: Annotated[str, typer.Option(help="Data set id, or the path of a JSONL file or folder.")] = "",
    config: Annotated[Path | None, typer.Option(help="YAML file with the run's settings.")] = None,
    iters: Annotated[int | None, typer.Option(help="Number of steps.")] = None,
    json: Json = False,
) -> None:
    """Train now and wait for the end; without options, the demo."""
    chosen = training.parse_config(config.read_text(encoding="utf-8")) if config else home.demo_config()
    changes = {"model": _as_id(model), "data": _as_id(data), "iters": iters}
    chosen = dataclasses.replace(chosen, **{k: v for k, v in changes.items() if v})  # type: ignore[arg-type]
    services = context.build_services()
    try:
        run_id = training.submit(services, chosen)
        final = _follow(services, run_id, quiet=json)
    finally:
        services.close()
    record = {
        "id": run_id, "status": final.status, "loss_first": final.train_loss_first, "loss_last": final.train_loss,
        "seconds": final.elapsed_seconds, "adapter": str(services.store.folder(run_id).adapter) if final.adapter else None,
        "error": final.error.as_record() if final.error else None,
    }  # fmt: skip
    _report(record, json, t(f"cli.ended.{final.status}", "en", run=run_id))
    if final.error:
        raise final.error
    raise SystemExit(0 if final.status == "completed" else 1)


def _as_id(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.resolve()) if name and path.exists() else name


def _follow(services: Services, run_id: str, quiet: bool) -> runs.RunSnapshot:
    shown = -1
    while True:
        state = runs.snapshot(services, run_id)
        if not quiet and state.step != shown and state.train_loss is not None:
            shown = state.step
            typer.echo(f"{state.step}/{state.iters}  loss {state.train_loss:.4f}  {state.tokens_per_second or 0:.0f} tokens/s")
        if not state.active:
            return state
        time.sleep(POLL_SECONDS)


@app.command(name="runs")
def list_runs(json: Json = False) -> None:
    """List the experiments, newest first."""
    services = context.build_services()
    try:
        rows = experiments.table(services)
    finally:
        services.close()
    records = [{k: v for k, v in dataclasses.asdict(row).items() if k not in {"sparkline", "error"}} for row in rows]
    lines = [f"{r.id}  {r.status:<12} {r.name}  {r.final_loss if r.final_loss is None else round(r.final_loss, 4)}" for r in rows]
    _report(records, json, "\n".join(lines) or t("cli.no_runs", "en"))


@app.command()
def stop(run: Annotated[str, typer.Argument(help="The run's id.")], json: Json = False) -> None:
    """Stop a run; it saves what it has learned."""
    services = context.build_services()
    try:
        runs.stop(services, run)
    finally:
        services.close()
    _report({"id": run, "requested": "cancel"}, json, t("cli.stopping", "en", run=run))


if __name__ == "__main__":
    main()
