"""Jobs that carry a model elsewhere: GGUF files, LM Studio, Ollama, the model hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.export.config import OllamaRules
from tunesmith.export.hub import upload_folder
from tunesmith.export.lmstudio import copy_to_lmstudio, find_models_folder
from tunesmith.export.ollama_client import OllamaClient
from tunesmith.export.ollama_deploy import check_deployed, deploy_gguf
from tunesmith.export.ollama_model import ollama_model
from tunesmith.jobs.job_kinds import Request
from tunesmith.settings.files import from_mapping
from tunesmith.system.progress import Report
from tunesmith.system.secrets import hub_token


def export_lmstudio(request: Request, report: Report) -> dict[str, Any]:
    """Copy what was made into LM Studio's models folder. Raises UserError `lmstudio_…`, `target_exists`, `disk_…`."""
    root = find_models_folder(Path(request["root"]) if request["root"] else None)
    return {"path": str(copy_to_lmstudio(Path(request["path"]), root, request["publisher"], request["name"], report))}


def export_ollama(request: Request, report: Report) -> dict[str, Any]:
    """Create an Ollama model of a GGUF file and ask it one question. Raises UserError `ollama_…`."""
    client = OllamaClient(request["url"], request["allowed_hosts"])
    model = ollama_model(request["lineage"], from_mapping(OllamaRules, request["rules"]))
    deployed = deploy_gguf(client, Path(request["data_dir"]), request["name"], Path(request["gguf"]), model, report)
    report("proving", 0.0)
    return asdict(deployed) | {"check": check_deployed(client, deployed.name, model).as_record()}


def upload(request: Request, report: Report) -> dict[str, Any]:
    """Upload what was made to the model hub. Raises UserError `hub_…`."""
    token = hub_token()
    if not token:
        raise UserError("hub_token_missing")
    return asdict(upload_folder(Path(request["path"]), request["repository"], request["private"], token, report))
