"""Fusion: the map of conflicts, the fusion itself, the sweep of weights; each is a job whose result pages read."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.layered import check_layered
from tunesmith.fusion.methods import check_rules
from tunesmith.jobs.job import Job
from tunesmith.services import jobs
from tunesmith.services.adapters import AdapterInfo, find_adapter, why_not_together
from tunesmith.services.context import Services
from tunesmith.services.datasets import find_dataset
from tunesmith.services.lineage import lineage_of
from tunesmith.services.models import made_models_folder, read_model
from tunesmith.services.rights import needs
from tunesmith.settings.fields import check_values
from tunesmith.system.paths import as_file_name

TARGETS = ("adapter", "model")
MOST_GRID = 60


def check(s: Services, ids: Sequence[str], rules: FusionRules) -> list[AdapterInfo]:
    """Return the adapters when they can be fused by these rules. Raises UserError `adapter…`, `fusion_…`, `setting_…`."""
    chosen = [find_adapter(s, adapter_id) for adapter_id in ids]
    if twice := [info.name for info in chosen if ids.count(info.id) > 1]:
        raise UserError("fusion_same_twice", adapter=twice[0])
    check_values(rules)
    check_rules(rules, len(chosen))
    if problem := why_not_together(chosen):
        raise problem
    check_layered(rules.layered, len(chosen), layers_of(s, chosen))
    return chosen


def layers_of(s: Services, adapters: Sequence[AdapterInfo]) -> int:
    """Return how many layers the adapters' base has. Raises UserError `model_…`."""
    return read_model(s, adapters[0].model_path).num_layers


def _request(adapters: Sequence[AdapterInfo], rules: FusionRules) -> dict[str, Any]:
    return {
        "adapters": [{"id": a.id, "name": a.name, "folder": str(a.path)} for a in adapters],
        "model": adapters[0].model, "model_path": str(adapters[0].model_path), "rules": dataclasses.asdict(rules),
    }  # fmt: skip


@needs(TRAINER)
def start_map(s: Services, ids: Sequence[str]) -> str:
    """Start to map how adapters agree; return the job's id. Raises UserError `adapter…`, `fusion_needs_two`."""
    rules = FusionRules(method="linear", weights=(1.0,) * len(ids))
    return jobs.start(s, "map_conflicts", _request(check(s, ids, rules), rules))


def find_map(s: Services, ids: Sequence[str]) -> Job | None:
    """Return the newest map of exactly these adapters that did not fail, None when there is none."""
    for job in jobs.list_jobs(s, "map_conflicts"):
        if [a["id"] for a in job.request["adapters"]] == list(ids) and job.status in {"running", "completed"}:
            return job
    return None


@needs(TRAINER)
def start_fusion(s: Services, ids: Sequence[str], rules: FusionRules, target: str, name: str, data: str = "") -> str:
    """Start a fusion and return the job's id; `data` is a data set on whose held-out rows losses are measured.

    Raises UserError `adapter…`, `fusion_…`, `name_empty`, `target_exists`, `disk_nearly_full`, `dataset_unknown`.
    """
    chosen = check(s, ids, rules)
    if target not in TARGETS:
        raise UserError("setting_choice", field="target", value=target, choices=", ".join(TARGETS))
    name = " ".join(name.split())
    if not name:
        raise UserError("name_empty")
    first, parts = chosen[0], zip(chosen, rules.weights, strict=True)
    parents = [lineage_of(s, a.model, a.model_path, a, weight=weight) for a, weight in parts]
    made: dict[str, Any] = {"base_model_hash": first.base_hash, "method": rules.method, "adapters": parents}
    lineage = lineage_of(s, first.model, first.model_path, rules=dataclasses.asdict(rules), **made)
    request = _request(chosen, rules) | {"target": target, "name": name, "lineage": lineage, "data_path": _data_path(s, data)}
    needed = sum(a.size_bytes for a in chosen)
    if target == "model":
        path = made_models_folder(s) / as_file_name(name, "model")
        if path.exists():
            raise UserError("target_exists", name=path.name, folder=str(path.parent))
        request["target_path"] = str(path)
        needed = read_model(s, first.model_path).dense_bytes
    return jobs.start(s, "fuse", request, needed)


def _data_path(s: Services, data: str) -> str:
    return str(find_dataset(s, data).path) if data else ""


def sweep_grid(count: int, points: int) -> list[list[float]]:
    """Return weights that sum to 1, `points` along each way from one adapter to another. Raises UserError `sweep_too_large`."""
    steps = points - 1
    shares = [share for share in itertools.product(range(points), repeat=count) if sum(share) == steps]
    if len(shares) > MOST_GRID:
        raise UserError("fusion_grid_too_large", points=len(shares), most=MOST_GRID)
    return [[part / steps for part in share] for share in sorted(shares, reverse=True)]


@needs(TRAINER)
def start_sweep(s: Services, ids: Sequence[str], rules: FusionRules, points: int, data: str) -> str:
    """Start to measure the held-out loss over a grid of weights; return the job's id.

    Raises UserError `adapter…`, `fusion_…`, `dataset_missing`, `dataset_unknown`.
    """
    chosen = check(s, ids, rules)
    if not data:
        raise UserError("dataset_missing")
    grid = sweep_grid(len(chosen), points)
    return jobs.start(s, "sweep_weights", _request(chosen, rules) | {"grid": grid, "data_path": str(Path(_data_path(s, data)))})
