"""Jobs of the Fusion page: the conflict map, the fusion with its report, the sweep of weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tunesmith.fusion.adapters import write_adapter
from tunesmith.fusion.combining import FusedFactors, Fusion, Source, to_factors
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.conflicts import compare_module, remarks
from tunesmith.fusion.deltas import inner
from tunesmith.fusion.parity import DenseReference, HeldOut, held_out_losses, loss_with, prove_adapter, prove_model, read_held_out
from tunesmith.jobs.job_kinds import Request
from tunesmith.jobs.work.folders import add_to_manifest, proof_of
from tunesmith.models.cards import model_card
from tunesmith.models.fused_weights import fused_weights
from tunesmith.models.saving import save_model_folder
from tunesmith.settings.files import from_mapping
from tunesmith.store.adapters import AdapterStore
from tunesmith.system.progress import Report


def _open(request: Request) -> Fusion:
    sources = [Source(each["name"], Path(each["folder"])) for each in request["adapters"]]
    return Fusion(Path(request["model_path"]), sources, from_mapping(FusionRules, request["rules"]))


def map_conflicts(request: Request, report: Report) -> dict[str, Any]:
    """Return the map of all modules and what it says in words."""
    fusion = _open(request)
    found, squares = [], dict.fromkeys(range(len(fusion.adapters)), 0.0)
    with threadpool_limits(1):
        for number, module in enumerate(fusion.modules):
            deltas = [adapter.delta(module, fusion.base) for adapter in fusion.adapters]
            found.append(compare_module(module, deltas))
            for place, delta in enumerate(deltas):
                squares[place] += inner(delta, delta) if delta is not None else 0.0
            report("comparing", (number + 1) / len(fusion.modules))
    told = remarks(found, {place: float(np.sqrt(square)) for place, square in squares.items()})
    return {"modules": [asdict(each) for each in found], "remarks": [asdict(each) for each in told]}


def fuse(request: Request, report: Report) -> dict[str, Any]:
    """Fuse, write the adapter or the model, and measure what was written.

    Raises UserError `fusion_…`, `adapter_…`, `disk_full`, and before anything is written `dataset_without_split`, `data_…`,
    `model_without_chat_template`.
    """
    fusion = _open(request)
    rows = read_held_out(fusion, HeldOut(Path(request["data_path"]))) if request.get("data_path") else []
    result = _write_model(fusion, request, report) if request["target"] == "model" else _write_adapter(fusion, request, report)
    report("proving", 0.0)
    reference = DenseReference(fusion.base.path)
    if request["target"] == "model":
        likeness = prove_model(fusion, reference, Path(result["path"]))
        change = fusion.fused
    else:
        factors = result.pop("factors")
        likeness = prove_adapter(fusion, reference, factors)
        change = factors.get
    result["likeness"] = likeness.as_record()
    if request["target"] == "model":
        add_to_manifest(Path(result["path"]), proof=proof_of(likeness))
    if rows:
        result["losses"] = held_out_losses(fusion, reference, change, rows, report)
    return result


def _write_adapter(fusion: Fusion, request: Request, report: Report) -> dict[str, Any]:
    with threadpool_limits(1):
        made: FusedFactors = to_factors(fusion, lambda share: report("fusing", share))
    least = min(made.kept, key=made.kept.__getitem__)
    store = AdapterStore(Path(request["data_dir"]))
    with store.staging() as folder:
        write_adapter(folder / "adapter", made.factors, fusion.base, request["lineage"], fusion.template())
        record = store.add(folder, request["name"], "fused", request["model"], fusion.base.path, request["lineage"])
    return {
        "adapter": record.id, "path": str(store.root / record.id / "adapter"), "rank": fusion.rank(), "kept": made.kept_in_all,
        "least_kept": [least, made.kept[least]], "factors": made.factors,
    }  # fmt: skip


def _write_model(fusion: Fusion, request: Request, report: Report) -> dict[str, Any]:
    weights = fused_weights(fusion.base.path, fusion.change)
    target = Path(request["target_path"])
    save_model_folder(
        target, fusion.base.path, weights.config, weights.tensors(), model_card(request["name"], request["lineage"]), request["lineage"],
        lambda share: report("fusing", share), weights.count, fusion.template(),
    )  # fmt: skip
    return {"model": target.name, "path": str(target)}


def sweep_weights(request: Request, report: Report) -> dict[str, Any]:
    """Measure the held-out loss of the fusion at each of several weights; returns them with the best."""
    fusion = _open(request)
    rows = read_held_out(fusion, HeldOut(Path(request["data_path"])))
    reference = DenseReference(fusion.base.path)
    points: list[dict[str, Any]] = []
    grid: Sequence[Sequence[float]] = request["grid"]
    for number, weights in enumerate(grid):
        fusion.rules = replace(fusion.rules, weights=tuple(weights))
        points.append({"weights": list(weights), "loss": loss_with(fusion, reference, fusion.fused, rows)})
        report("sweeping", (number + 1) / len(grid))
    return {"points": points, "best": min(points, key=lambda point: point["loss"])}
