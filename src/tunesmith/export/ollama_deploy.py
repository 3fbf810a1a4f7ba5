"""Puts a GGUF file into an Ollama server as a model and takes it away again, never one that we did not make. Knows no templates.

What was made is kept in a small file: server, name, and the digest of the manifest as the server told it. A model of another digest was
changed by somebody else since; it is left alone too. A model is written down before it is made, so that it is ours even when the server
could not be asked afterwards.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.export.ollama import OllamaModel, full_name
from tunesmith.export.ollama_client import ChatAnswer, OllamaClient, OllamaEntry
from tunesmith.store.files import read_json, write_json
from tunesmith.system.progress import Report, silent

RECORD = "ollama.json"
TEST_QUESTION = "What is the capital of France?"


@dataclass(frozen=True)
class Deployed:
    """A model that we put into a server; `blob` is the digest of the GGUF file, `digest` that of the manifest, "" until it is told."""

    address: str
    name: str
    digest: str
    blob: str
    size_bytes: int


@dataclass(frozen=True)
class DeploymentCheck:
    """What the server says of a model after it was made, and its answer to one question."""

    template_kept: bool
    stops_kept: bool
    answer: ChatAnswer

    def as_record(self) -> dict[str, Any]:
        """Return it for a manifest."""
        return asdict(self)


def list_deployed(folder: Path) -> list[Deployed]:
    """Return what was put into servers, as recorded in a data folder. Raises UserError `store_file_unreadable`."""
    try:
        return [Deployed(**entry) for entry in read_json(folder / RECORD)]
    except FileNotFoundError:
        return []


def is_ours(entry: Deployed, address: str, present: OllamaEntry) -> bool:
    """Say whether a model of a server is the one of an entry, not changed since."""
    return _is(entry, address, present.name) and entry.digest in {"", present.digest}


def deploy_gguf(client: OllamaClient, folder: Path, name: str, gguf: Path, model: OllamaModel, report: Report = silent) -> Deployed:
    """Upload a GGUF file, make a model of it, see that it is there, and write it down in `folder`. Our own of that name is replaced.

    Raises UserError `ollama_name_wrong`, `ollama_model_not_ours`, `ollama_model_changed`, `ollama_model_missing`, `not_a_gguf`,
    `ollama_not_running`, `ollama_refused`, `ollama_broke_off`, `ollama_create_failed`, `ollama_create_unfinished`.
    """
    name = full_name(name)
    present = client.find(name)
    before = [_require_ours(folder, client.address, present)] if present else []
    blob = client.upload(gguf, report)
    _record(folder, client.address, name, Deployed(client.address, name, "", blob, gguf.stat().st_size))
    try:
        client.create(name, gguf.name, blob, model, report)
    except UserError as error:
        if error.code == "ollama_create_failed":  # of any other failure the server may have made the model
            _record(folder, client.address, name, *before)
        raise
    made = client.find(name)
    if not made:
        _record(folder, client.address, name)
        raise UserError("ollama_model_missing", model=name, address=client.address)
    deployed = Deployed(client.address, made.name, made.digest, blob, made.size_bytes)
    _record(folder, client.address, name, deployed)
    return deployed


def check_deployed(
    client: OllamaClient, name: str, model: OllamaModel, question: str = TEST_QUESTION, max_tokens: int = 64
) -> DeploymentCheck:
    """Ask the server what it keeps of a model and for one answer. Raises UserError `ollama_model_unknown`, `ollama_…`."""
    shown = client.show(name)
    parameters = str(shown.get("parameters") or "")
    return DeploymentCheck(
        template_kept=shown.get("template") == model.template,
        stops_kept=all(stop in parameters for stop in model.stops),
        answer=client.chat(name, question, max_tokens),
    )


def remove_deployed(client: OllamaClient, folder: Path, name: str) -> None:
    """Take a model of ours away from a server and strike it from the record; one that is gone already is only struck.

    Raises UserError `ollama_model_not_ours`, `ollama_model_changed`, `ollama_not_running`.
    """
    name = full_name(name)
    present = client.find(name)
    if present:
        _require_ours(folder, client.address, present)
        client.delete(name)
    _record(folder, client.address, name)


def _record(folder: Path, address: str, name: str, *deployed: Deployed) -> None:
    """Write down what is at a name of a server now: a model of ours or nothing."""
    others = [entry for entry in list_deployed(folder) if not _is(entry, address, name)]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, [asdict(entry) for entry in [*others, *deployed]])


def _require_ours(folder: Path, address: str, present: OllamaEntry) -> Deployed:
    ours = next((entry for entry in list_deployed(folder) if _is(entry, address, present.name)), None)
    if not ours:
        raise UserError("ollama_model_not_ours", model=present.name, address=address)
    if not is_ours(ours, address, present):
        raise UserError("ollama_model_changed", model=present.name, address=address)
    return ours


def _is(entry: Deployed, address: str, name: str) -> bool:
    return entry.address == address and entry.name.lower() == name.lower()
