"""Commands for adapters and models: list, import, download, fuse, quantise, export, serve. Calls the same services as the pages."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli_output import POLL_SECONDS, Json, follow_job, open_services, report, with_settings
from tunesmith.errors import UserError
from tunesmith.export.config import ArrivalRules, GgufRules, OllamaRules, QuantizeRules
from tunesmith.fusion.config import FusionRules
from tunesmith.i18n.catalog import error_words, format_bytes, t
from tunesmith.jobs.job import Job
from tunesmith.services import adapters, exports, fusion, jobs, model_hub, model_library, models, serving
from tunesmith.services.context import Services
from tunesmith.settings.files import from_mapping, read_numbers, read_yaml
from tunesmith.system.secrets import find_key

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Adapters: list, import, rename, delete.")
models_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Base models: search the hub, download, list, delete.")
export_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Carry a model or an adapter to other engines, with a proof.")
Source = Annotated[str, typer.Argument(help="An adapter's id (a run's by the run's), or a model's.")]
Name = Annotated[str, typer.Option(help="What the result is called.")]
Data = Annotated[str, typer.Option(help="A data set on whose held-out rows the result is measured.")]


Text = Annotated[str, typer.Argument(help="Words of a model's name; the most downloaded ones without any.")]
HubName = Annotated[str, typer.Argument(help="owner/name on the hub.")]
Model = Annotated[str, typer.Argument(help="A model's id: see `tunesmith models list`.")]


@models_app.command(name="list")
def list_base_models(json: Json = False) -> None:
    """List the base models: the shipped one, those of the hub, those in the settings' folders."""
    with open_services() as services:
        found = [(model, model_library.origin_of(services, model)) for model in models.list_models(services)]
    records = [
        {"id": m.id, "path": str(m.path), "type": m.model_type, "parameters": m.parameters, "size_bytes": m.size_bytes,
         "precision": m.quantization or m.dtype, "from": o.place, "hub": o.name, "commit": o.commit, "licence": o.licence,
         "problem": m.problem.as_record() if m.problem else None}
        for m, o in found
    ]  # fmt: skip
    lines = [
        f"{m.id:<40} {m.parameters / 1e6:>10.1f} M  {m.quantization or m.dtype:<6} {o.place:<7} {o.licence:<12} "
        f"{error_words(m.problem.code, m.problem.facts, 'en') if m.problem else ''}".rstrip()
        for m, o in found
    ]  # fmt: skip
    report(records, json, "\n".join(lines))


@models_app.command(name="search")
def search_hub(
    text: Text = "", mlx: Annotated[bool, typer.Option("--mlx", help="Only those in MLX's form.")] = False, json: Json = False
) -> None:
    """Search the hub for text models."""
    with open_services() as services:
        found = model_hub.search(services, text, mlx)
    lines = [
        f"{m.name:<56} {format_bytes(m.size_bytes) if m.size_bytes else '?':>10} {m.downloads:>10} {m.licence:<14} "
        f"{'MLX ' if m.is_mlx else ''}{'gated' if m.gated else ''}".rstrip()
        for m in found
    ]  # fmt: skip
    report([dataclasses.asdict(m) for m in found], json, "\n".join(lines) or t("hub.nothing", "en"))


@models_app.command(name="download")
@with_settings(ArrivalRules, "rules")
def download_model(name: HubName, rules: ArrivalRules, json: Json = False) -> None:
    """Download a model of the hub; what was broken off goes on where it ended."""
    _run(lambda s: model_hub.start_download(s, model_hub.describe(s, name), rules), json)


@models_app.command(name="delete")
def delete_model(model: Model, json: Json = False) -> None:
    """Move a model that was downloaded or made here to the trash."""
    with open_services() as services:
        found = next((each for each in models.list_models(services) if each.id == model), None)
        if found is None:
            raise UserError("model_unknown", model=model)
        model_library.trash(services, found)
    report({"id": model, "trashed": True}, json, t("cli.trashed", "en", name=model))


@app.command(name="list")
def list_adapters(json: Json = False) -> None:
    """List the adapters, newest first."""
    with open_services() as services:
        found = adapters.list_adapters(services)
    records = [_as_record(info) for info in found]
    lines = [f"{a.id:<28} {a.origin:<9} {a.kind:<5} r{a.rank:<4} {a.model:<20} {a.name}" for a in found]
    report(records, json, "\n".join(lines) or t("cli.no_adapters", "en"))


def _as_record(info: adapters.AdapterInfo) -> dict[str, Any]:
    plain = dataclasses.asdict(info) | {"path": str(info.path), "model_path": str(info.model_path)}
    return plain | {"problem": info.problem.as_record() if info.problem else None}


@app.command(name="import")
def import_adapter(
    path: Annotated[Path, typer.Argument(help="An adapter's folder, mlx-lm's or PEFT's, or a zip file of one.")],
    model: Annotated[str, typer.Option(help="The base that it was made for.")],
    name: Name = "",
    json: Json = False,
) -> None:
    """Bring an adapter, checked against its base."""
    _run(lambda s: adapters.start_import(s, path, name or path.stem, model), json)


@app.command(name="rename")
def rename_adapter(adapter: Source, name: Annotated[str, typer.Argument(help="The new name.")], json: Json = False) -> None:
    """Give an adapter another name."""
    with open_services() as services:
        adapters.rename(services, adapters.find_adapter(services, adapter), name)
    report({"id": adapter, "name": name}, json, name)


@app.command(name="delete")
def delete_adapter(adapter: Source, json: Json = False) -> None:
    """Move an adapter to the trash; a run's goes with its run."""
    with open_services() as services:
        adapters.trash(services, adapters.find_adapter(services, adapter))
    report({"id": adapter, "trashed": True}, json, t("cli.trashed", "en", name=adapter))


def fuse(
    adapter: Annotated[list[str], typer.Argument(help="Ids of two or more adapters of one base.")],
    name: Name,
    method: Annotated[
        str, typer.Option(help="linear (the default), task_arithmetic, slerp, nuslerp, karcher, model_stock, ties, dare_ties …")
    ] = "",
    weights: Annotated[str, typer.Option(help="One for each adapter, with commas; equal ones by default.")] = "",
    rules: Annotated[Path | None, typer.Option(help="YAML file with the other rules: density, scale, rank, layered …")] = None,
    target: Annotated[str, typer.Option(help="adapter or model")] = "adapter",
    data: Data = "",
    json: Json = False,
) -> None:
    """Fuse adapters of one base, and measure how exact the result is."""
    if rules and not rules.is_file():
        raise UserError("file_missing", file=str(rules))
    values = {"method": "linear", "weights": [1 / len(adapter)] * len(adapter), **(read_yaml(rules) if rules else {})}
    values |= {"method": method} if method else {}
    values |= {"weights": read_numbers(weights)} if weights else {}
    chosen = from_mapping(FusionRules, values)
    _run(lambda s: fusion.start_fusion(s, adapter, chosen, target, name, data), json)


def quantize(
    source: Source,
    name: Name,
    bits: int = 4,
    group_size: int = 64,
    mode: str = "affine",
    recipe: str = "none",
    data: Data = "",
    json: Json = False,
) -> None:
    """Make a model in fewer bits, and measure what that cost."""
    chosen = from_mapping(QuantizeRules, {"bits": bits, "group_size": group_size, "mode": mode, "recipe": recipe})
    _run(lambda s: exports.start_quantized(s, exports.find_source(s, source), name, chosen, data), json)


@export_app.command(name="fused")
def export_fused(
    source: Source,
    name: Name,
    dtype: Annotated[str, typer.Option(help="float16, bfloat16, float32; empty: the base's.")] = "",
    json: Json = False,
) -> None:
    """Fuse an adapter into its base: a complete model in safetensors."""
    _run(lambda s: exports.start_fused(s, exports.find_source(s, source), name, dtype), json)


@export_app.command(name="peft")
def export_peft(source: Source, name: Name, json: Json = False) -> None:
    """Write an adapter in PEFT's format."""
    _run(lambda s: exports.start_peft(s, exports.find_source(s, source), name), json)


@export_app.command(name="gguf")
def export_gguf(
    source: Source,
    name: Name,
    outtype: str = "Q8_0",
    lora: Annotated[bool, typer.Option(help="The adapter alone.")] = False,
    json: Json = False,
) -> None:
    """Write a GGUF file, the adapter fused in or alone."""

    def start(s: Services) -> str:
        found = exports.find_source(s, source)
        return exports.start_gguf_lora(s, found, name) if lora else exports.start_gguf(s, found, name, GgufRules(outtype))

    _run(start, json)


@export_app.command(name="ollama")
def export_ollama(
    export: Annotated[str, typer.Argument(help="The name of a GGUF export.")], name: Name, system: str = "", json: Json = False
) -> None:
    """Create an Ollama model of a GGUF export."""
    _run(lambda s: exports.start_ollama(s, exports.find_made(s, export), name, OllamaRules(system=system)), json)


@export_app.command(name="lmstudio")
def export_lmstudio(
    export: Annotated[str, typer.Argument(help="The name of an export or of a model that we made.")],
    publisher: str = "tunesmith",
    json: Json = False,
) -> None:
    """Copy an export into LM Studio's models folder."""
    _run(lambda s: exports.start_lmstudio(s, exports.find_made(s, export), publisher), json)


@export_app.command(name="list")
def list_exports(run: Annotated[str, typer.Option(help="Only what comes from this run.")] = "", json: Json = False) -> None:
    """List what exports made."""
    with open_services() as services:
        found = exports.list_made(services, run)
    records = [dataclasses.asdict(made) | {"path": str(made.path), "verified": made.verified} for made in found]
    lines = [f"{m.name:<32} {m.format:<10} {'verified' if m.verified else '':<9} {m.path}" for m in found]
    report(records, json, "\n".join(lines) or t("cli.no_exports", "en"))


def _run(start: Callable[[Services], str], json: bool) -> None:
    """Start a job, wait for its end, report what it made; an interrupt cancels it. Exit code 2 for what a person can mend, 1 otherwise."""
    with open_services() as services:
        job_id = start(services)
        try:
            job = follow_job(services, job_id, quiet=json)
        except KeyboardInterrupt:
            jobs.cancel(services, job_id)
            raise SystemExit(130) from None
    record = {
        "job": job.id,
        "kind": job.kind,
        "status": job.status,
        "result": job.result,
        "error": job.error.as_record() if job.error else None,
    }
    report(record, json, _lines(job))
    raise SystemExit(0 if job.status == "completed" else 2 if job.error else 1)


def _lines(job: Job) -> str:
    if job.error:
        return error_words(job.error.code, job.error.facts, "en")
    plain: Sequence[tuple[str, Any]] = [(key, value) for key, value in job.result.items() if not isinstance(value, list)]
    return "\n".join([f"{job.status}", *(f"{key:<16} {value}" for key, value in plain)])


def serve_model(
    source: Source,
    name: Annotated[str, typer.Option(help="What clients call the model; the source's name by default.")] = "",
    lan: Annotated[bool, typer.Option("--lan", help="Open it to the LAN, with a key.")] = False,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 0,
    key_variable: Annotated[str, typer.Option(help="The name of a key (`tunesmith keys`) that it asks for; on the LAN one is made.")] = "",
    json: Json = False,
) -> None:
    """Serve a model or an adapter on its base to other programs, in OpenAI's form, until Ctrl-C."""
    key = find_key(key_variable) if key_variable else ""
    if key_variable and not key:
        raise UserError("serving_key_missing", variable=key_variable)
    with open_services() as services:
        found = exports.find_source(services, source)
        started = serving.start(services, found, name or found.name, lan, port, key)
        server = started.server
        try:
            while (server := serving.find(services, server.id)).status == "starting":
                time.sleep(POLL_SECONDS)
            if server.error:
                raise server.error
            made_key = started.key if not key else ""
            record = {"id": server.id, "status": server.status, "address": server.address, "model": server.name, "key": made_key}
            told = [server.address, f"export {serving.KEY_SHOWN_AS}={made_key}" if made_key else "", serving.how_to_ask(server)]
            report(record, json, "\n".join(line for line in told if line))
            while serving.find(services, server.id).status == "ready":
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            raise SystemExit(0) from None
        finally:
            serving.stop(services, server.id)
