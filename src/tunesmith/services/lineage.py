"""Where an adapter, a model or an export comes from, as it is written beside it: enough to find and to repeat it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.models.folder_layout import MANIFEST
from tunesmith.services.adapters import AdapterInfo
from tunesmith.services.context import Services
from tunesmith.services.datasets import find_dataset
from tunesmith.store.files import read_json
from tunesmith.system.environment import package_versions


def lineage_of(s: Services, model: str, model_path: Path, adapter: AdapterInfo | None = None, **more: Any) -> dict[str, Any]:
    """Return a manifest: base, adapter, its run, settings and data by their hashes, versions, time; `more` is the maker's own."""
    record: dict[str, Any] = {"v": 1, "model": model, "made_at": time.time(), "owner": s.person.name, "versions": package_versions()}
    if made := read_manifest(model_path):
        record["base_manifest"] = made
    if adapter:
        record |= {"adapter": adapter.id, "adapter_name": adapter.name, "origin": adapter.origin, "base_model_hash": adapter.base_hash}
        if adapter.run_id:
            record |= _run_facts(s, adapter)
        else:
            record |= {"parents": adapter.lineage}
    return record | more


def _run_facts(s: Services, adapter: AdapterInfo) -> dict[str, Any]:
    experiment = s.store.get(adapter.run_id)
    return {
        "run": adapter.run_id, "method": adapter.method, "data": adapter.data, "data_hash": data_hash(s, adapter.data),
        "config_sha256": experiment.config_sha256, "metrics": adapter.metrics,
    }  # fmt: skip


def data_hash(s: Services, data: str) -> str:
    """Return the hash of a data set's rows, empty where it is gone or has no versions."""
    try:
        version = find_dataset(s, data).version
    except UserError:
        return ""
    return version.hash if version else ""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what was written beside a made thing, nothing where there is none."""
    try:
        record = read_json(folder / MANIFEST)
    except (OSError, UserError):
        return {}
    return record if isinstance(record, dict) else {}


def runs_of(manifest: dict[str, Any]) -> list[str]:
    """Return the runs that a made thing comes from, those of its parents too."""
    found = [str(manifest["run"])] if manifest.get("run") else []
    for parent in (manifest.get("parents"), manifest.get("base_manifest"), *manifest.get("adapters", ())):
        if isinstance(parent, dict):
            found += runs_of(parent)
    return list(dict.fromkeys(found))
