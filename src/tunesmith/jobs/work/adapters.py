"""Jobs of adapters: bring one from elsewhere, carry one to PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.export.adapter_sources import find_adapter_files
from tunesmith.export.peft import prove_peft, to_peft
from tunesmith.export.peft_import import from_mlx, from_peft
from tunesmith.jobs.job_kinds import Request
from tunesmith.jobs.work.folders import proof_of
from tunesmith.models.folder_layout import MANIFEST
from tunesmith.store.adapters import AdapterStore
from tunesmith.store.files import staged_folder, write_json
from tunesmith.store.saved_folders import whole_folder
from tunesmith.store.uploads import drop_upload
from tunesmith.system.progress import Report


def import_adapter(request: Request, report: Report) -> dict[str, Any]:
    """Bring an adapter's folder or zip file into the store, checked against its base. Raises UserError `adapter_…`, `peft_…`."""
    source, base = Path(request["path"]), Path(request["model_path"])
    store = AdapterStore(Path(request["data_dir"]))
    report("checking", 0.0)
    try:
        return _bring(source, base, store, request)
    finally:
        if request["uploaded"]:
            drop_upload(Path(request["data_dir"]), source)


def _bring(source: Path, base: Path, store: AdapterStore, request: Request) -> dict[str, Any]:
    with store.staging() as unpacked, store.staging() as folder:
        found = find_adapter_files(source, unpacked)
        bring = from_peft if found.kind == "peft" else from_mlx
        bring(found.folder, folder / "adapter", base)
        lineage = {"source": source.name, "format": found.kind, "owner": request.get("owner", "")}
        record = store.add(folder, request["name"], "imported", request["model"], base, lineage)
    return {"adapter": record.id, "name": record.name}


def adopt_adapter(request: Request, report: Report) -> dict[str, Any]:
    """Give a run that was made elsewhere its adapter, checked against its base. Raises UserError `adapter_…`, `peft_…`."""
    source, base, run = Path(request["path"]), Path(request["model_path"]), Path(request["run_path"])
    report("checking", 0.0)
    try:
        with staged_folder(run.parent) as unpacked:
            found = find_adapter_files(source, unpacked)
            bring = from_peft if found.kind == "peft" else from_mlx
            bring(found.folder, run / "adapter", base)
    finally:
        if request["uploaded"]:
            drop_upload(Path(request["data_dir"]), source)
    return {"run": run.name, "name": request["name"]}


def export_peft(request: Request, report: Report) -> dict[str, Any]:
    """Write an adapter in PEFT's format and read it back. Raises UserError `peft_…`, `target_exists`, `disk_full`."""
    adapter, base, target = Path(request["adapter_path"]), Path(request["model_path"]), Path(request["target_path"])
    with whole_folder(target) as folder:
        report("converting", 0.0)
        to_peft(adapter, folder / "adapter", request["model"], base)
        for path in (folder / "adapter").iterdir():
            path.rename(folder / path.name)
        (folder / "adapter").rmdir()
        report("proving", 0.0)
        found = prove_peft(adapter, folder, base)
        proof = proof_of(found.likeness, modules=found.modules, largest_difference=found.largest_difference)
        write_json(folder / MANIFEST, request["lineage"] | {"format": "peft", "proof": proof})
    return {"path": str(target), "proof": proof}
