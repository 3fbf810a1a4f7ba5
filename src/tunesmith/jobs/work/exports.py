"""Jobs that carry a model elsewhere: GGUF files, LM Studio, Ollama."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.export import gguf, gguf_lora
from tunesmith.export.config import GgufRules, OllamaRules
from tunesmith.export.gguf_architectures import read_blueprint
from tunesmith.export.gguf_proof import prove_gguf
from tunesmith.export.gguf_quantize import export_quantized_gguf
from tunesmith.export.gguf_tokens import read_vocabulary
from tunesmith.export.lmstudio import copy_to_lmstudio, find_models_folder
from tunesmith.export.ollama_client import OllamaClient
from tunesmith.export.ollama_deploy import check_deployed, deploy_gguf
from tunesmith.export.ollama_model import ollama_model
from tunesmith.export.ollama_template import read_chat_format
from tunesmith.jobs.job_kinds import Request
from tunesmith.models.adapter_files import read_template
from tunesmith.models.folder_layout import MANIFEST
from tunesmith.models.fused_weights import FusedWeights, adapter_change, fused_weights
from tunesmith.settings.files import from_mapping
from tunesmith.store.files import staged_folder, write_json
from tunesmith.store.saved_folders import whole_folder
from tunesmith.system.progress import Report


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


def export_gguf(request: Request, report: Report) -> dict[str, Any]:
    """Write a model, with its adapter in it if there is one, as a GGUF file, and prove it. Raises UserError `gguf_…`, `target_exists`."""
    source, outtype = Path(request["model_path"]), from_mapping(GgufRules, request["rules"]).outtype
    adapter = Path(request["adapter_path"]) if request["adapter_path"] else None
    template = read_template(adapter) if adapter else None

    def weights() -> FusedWeights:
        return fused_weights(source, adapter_change(adapter, source) if adapter else None)

    target = Path(request["target_path"])
    with whole_folder(target) as folder:
        file = folder / f"{target.name}-{outtype}.gguf"
        write = gguf.export_gguf if outtype in gguf.OUTTYPES else export_quantized_gguf
        made = write(weights(), source, file, outtype, report, request["name"], template)
        proof = prove_gguf(file, source, weights(), report)
        manifest = {"format": "gguf", "outtype": outtype, "proof": proof, "chat": _chat_format(source, template)}
        if made:
            manifest |= {"quantizer": made.quantizer, "fallbacks": made.fallbacks}
        write_json(folder / MANIFEST, request["lineage"] | manifest)
    return {"path": str(target), "proof": proof}


def _chat_format(source: Path, template: str | None) -> dict[str, Any] | None:
    """Return what a prompt format for Ollama is made from, None for a model without one."""
    try:
        chat = read_chat_format(source, template)
    except UserError:
        return None
    return asdict(chat) | {"adds_bos": read_vocabulary(source, read_blueprint(source).rows, template).add_bos}


def export_gguf_lora(request: Request, report: Report) -> dict[str, Any]:
    """Write an adapter as a GGUF file of its own, and prove it. Raises UserError `gguf_…`, `adapter_…`, `target_exists`."""
    adapter, base, target = Path(request["adapter_path"]), Path(request["model_path"]), Path(request["target_path"])
    with whole_folder(target) as folder:
        file = folder / f"{target.name}-lora.gguf"
        report("converting", 0.0)
        gguf_lora.export_gguf_lora(adapter, base, file, name=request["name"])
        with staged_folder(target.parent) as room:  # what the adapter is worn by in the proof
            worn = room / "base.gguf"
            gguf.export_gguf(fused_weights(base), base, worn, "F16", report)
            proof = gguf_lora.prove_gguf_lora(file, worn, adapter, base, report)
        write_json(folder / MANIFEST, request["lineage"] | {"format": "gguf_lora", "proof": proof})
    return {"path": str(target), "proof": proof}
