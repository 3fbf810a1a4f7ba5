"""Jobs that make a model of a model: an adapter fused into its base, a base in fewer bits."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith.export.config import QuantizeRules
from tunesmith.export.quantized import measure_quantization, quantize_folder, read_held_out
from tunesmith.inference.adapter_bank import AdapterBank
from tunesmith.inference.proof import compare_logits, encode_prompts, prompt_logits
from tunesmith.jobs.job_kinds import Request
from tunesmith.jobs.work.folders import add_to_manifest, proof_of
from tunesmith.models.adapter_files import read_template
from tunesmith.models.cards import model_card
from tunesmith.models.fused_weights import adapter_change, fused_weights
from tunesmith.models.loading import load_model, load_tokenizer
from tunesmith.models.saving import save_model_folder
from tunesmith.settings.files import from_mapping
from tunesmith.store.files import make_folder, staged_folder
from tunesmith.system.progress import Report


def fuse_into_base(request: Request, report: Report) -> dict[str, Any]:
    """Write base + adapter as a model folder, and compare it with the adapter as it is used.

    Raises UserError `adapter_…`, `model_…`, `target_exists`, `disk_full`.
    """
    source, adapter, target = Path(request["model_path"]), Path(request["adapter_path"]), Path(request["target_path"])
    weights = fused_weights(source, adapter_change(adapter, source), request.get("dtype", ""))
    card = model_card(request["name"], request["lineage"])
    save_model_folder(
        target, source, weights.config, weights.tensors(), card, request["lineage"], lambda share: report("fusing", share), weights.count,
        read_template(adapter),
    )  # fmt: skip
    report("proving", 0.0)
    base = load_model(source)
    base.model.eval()
    bank = AdapterBank(base)
    bank.activate(bank.load(adapter))
    prompts = encode_prompts(base.tokenizer)
    expected = prompt_logits(base.model, prompts)
    del bank, base
    likeness = compare_logits(expected, prompt_logits(load_model(target).model, prompts))
    proof = proof_of(likeness)
    add_to_manifest(target, proof=proof)
    return {"model": target.name, "path": str(target), "proof": proof}


def quantize(request: Request, report: Report) -> dict[str, Any]:
    """Write a model in fewer bits, and measure what that cost.

    Raises UserError `model_…`, `setting_choice`, `disk_full`, and before anything is written `dataset_without_split`, `data_…`.
    """
    source, target = Path(request["model_path"]), Path(request["target_path"])
    card = model_card(request["name"], request["lineage"])
    rules, data = from_mapping(QuantizeRules, request["rules"]), Path(request["data_path"]) if request["data_path"] else None
    adapter = Path(request["adapter_path"]) if request["adapter_path"] else None
    if data:  # rows that cannot be measured are told before the work
        read_held_out(data, load_tokenizer(source), read_template(adapter) if adapter else None)
    make_folder(target.parent)
    with staged_folder(target.parent) as folder:
        if adapter:
            source = _fused(source, adapter, folder / "model", report)
        quantize_folder(source, target, rules, card, request["lineage"], report)
        measured = asdict(measure_quantization(source, target, data, report))
    add_to_manifest(target, quantization=measured)
    return {"model": target.name, "path": str(target)} | measured


def _fused(source: Path, adapter: Path, target: Path, report: Report) -> Path:
    """Write base + adapter for a while, to be quantised."""
    weights = fused_weights(source, adapter_change(adapter, source))
    template = read_template(adapter)
    save_model_folder(
        target, source, weights.config, weights.tensors(), "", {}, lambda share: report("fusing", share), weights.count, template
    )  # fmt: skip
    return target
