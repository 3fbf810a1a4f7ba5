"""The registry of adapters: those that runs left, those that were brought or fused; one list for Compare, Fusion and Export."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.services import jobs
from tunesmith.services.context import Services
from tunesmith.services.models import find_model
from tunesmith.services.rights import needs, require_own
from tunesmith.store import labels
from tunesmith.store.adapters import AdapterRecord, AdapterStore
from tunesmith.store.experiment_index import IndexedRun
from tunesmith.store.files import read_json
from tunesmith.store.run_folder import RunFolder
from tunesmith.system.paths import typed_path


@dataclass(frozen=True)
class AdapterInfo:
    """One adapter; `origin` is trained, imported or fused, `kind` lora, dora or full. `problem` tells why it cannot be used."""

    id: str
    name: str
    origin: str
    model: str
    model_path: Path
    path: Path
    created_at: float
    base_hash: str = ""
    kind: str = ""
    rank: int = 0
    keys: tuple[str, ...] = ()
    num_layers: int = 0
    size_bytes: int = 0
    method: str = ""
    run_id: str = ""
    data: str = ""
    data_path: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    lineage: dict[str, Any] = field(default_factory=dict)
    problem: UserError | None = None
    owner: str = ""


def list_adapters(s: Services) -> list[AdapterInfo]:
    """Return all adapters, newest first; a broken one carries its problem."""
    found = [_of_run(s, run) for run in s.store.listing().runs if run.adapter]
    found += [_of_store(s, record) for record in AdapterStore(s.data_dir).all()]
    return sorted(found, key=lambda info: info.created_at, reverse=True)


def find_adapter(s: Services, adapter_id: str) -> AdapterInfo:
    """Return one adapter by its id, a run's by the run's. Raises UserError `adapter_missing`, or its problem."""
    try:
        info = _find_of_run(s, adapter_id) or _of_store(s, AdapterStore(s.data_dir).get(adapter_id))
    except UserError as error:
        raise UserError("adapter_missing", run=adapter_id) from error
    if info.problem:
        raise info.problem
    return info


def _find_of_run(s: Services, run_id: str) -> AdapterInfo | None:
    try:
        run = s.store.find(run_id)
    except UserError:
        return None
    return _of_run(s, run) if run.adapter else None


def _of_run(s: Services, run: IndexedRun) -> AdapterInfo:
    experiment = run.experiment
    figures = ("loss_last", "best_val_loss", "reward_last", "steps")
    metrics = {name: float(v) for name in figures if isinstance(v := experiment.summary.get(name), int | float)}
    return _read(
        RunFolder(s.store.experiments / run.id).adapter, id=run.id, name=run.name, origin="trained", model=experiment.model,
        model_path=Path(experiment.model_path), created_at=experiment.created_at, method=experiment.method, run_id=run.id,
        data=experiment.data, data_path=experiment.data_path, metrics=metrics, tags=run.tags, owner=experiment.owner,
    )  # fmt: skip


def _of_store(s: Services, record: AdapterRecord) -> AdapterInfo:
    folder = AdapterStore(s.data_dir).folder(record.id)
    return _read(
        folder / "adapter", id=record.id, name=record.name, origin=record.origin, model=record.model, model_path=Path(record.model_path),
        created_at=record.created_at, tags=labels.tags_in(labels.read_labels(folder)), lineage=record.lineage,
        method=str(record.lineage.get("method", "")), owner=record.owner,
    )  # fmt: skip


def _read(path: Path, **facts: Any) -> AdapterInfo:
    """Add what the adapter's own files tell."""
    try:
        state = (path / "adapter_config.json").stat()
        told = _read_config(path / "adapter_config.json", (state.st_mtime_ns, state.st_size, state.st_ino))
        return AdapterInfo(path=path, size_bytes=(path / "adapters.safetensors").stat().st_size, **told, **facts)
    except (UserError, OSError, AttributeError, TypeError, ValueError):
        return AdapterInfo(path=path, problem=UserError("adapter_broken", folder=str(path), file="adapter_config.json"), **facts)


@functools.lru_cache(maxsize=20_000)
def _read_config(file: Path, stamp: tuple[int, int, int]) -> dict[str, Any]:
    """Return what the settings beside an adapter tell; another stamp is another file."""
    del stamp
    config = read_json(file)
    lora = config.get("lora_parameters") or {}
    return {
        "base_hash": str(config.get("base_model_hash", "")), "kind": str(config.get("fine_tune_type", "lora")),
        "rank": int(lora.get("rank", 0)), "keys": tuple(lora.get("keys") or ()), "num_layers": int(config.get("num_layers", 0)),
    }  # fmt: skip


def why_not_together(adapters: Sequence[AdapterInfo]) -> UserError | None:
    """Return why adapters cannot be fused, None when they can be: they need one base."""
    for other in adapters:
        if other.problem:
            return other.problem
        if other.kind == "full":
            return UserError("adapter_kind_unsupported", adapter=other.name, kind=other.kind)
    return why_not_one_base(adapters)


def why_not_one_base(adapters: Sequence[AdapterInfo]) -> UserError | None:
    """Return which adapters are of different bases, None when all are of one."""
    first = adapters[0]
    for other in adapters:
        same = other.base_hash == first.base_hash if other.base_hash and first.base_hash else other.model_path == first.model_path
        if not same:
            return UserError("adapters_of_two_bases", first=first.name, first_model=first.model, other=other.name, other_model=other.model)
    return None


@needs(TRAINER)
def rename(s: Services, info: AdapterInfo, name: str) -> None:
    """Give an adapter another name; a run's is the run's. Raises UserError `name_empty`, `name_too_long`, `owned_by_another`."""
    require_own(s, _owner(s, info.run_id or info.id, bool(info.run_id)))
    labels.set_name(_labelled(s, info), name)


@needs(TRAINER)
def change_tags(s: Services, info: AdapterInfo, add: Sequence[str], remove: Sequence[str]) -> None:
    """Add tags to an adapter and take others away. Raises UserError `tags_too_many`."""
    labels.change_tags(_labelled(s, info), add, remove)


def _owner(s: Services, adapter_id: str, of_run: bool) -> str:
    return s.store.owner(adapter_id) if of_run else AdapterStore(s.data_dir).owner(adapter_id)


def _labelled(s: Services, info: AdapterInfo) -> Path:
    return s.store.folder(info.run_id).path if info.run_id else AdapterStore(s.data_dir).folder(info.id)


@needs(TRAINER)
def trash(s: Services, info: AdapterInfo) -> None:
    """Move an adapter to the trash; a run's goes with its run.

    Raises UserError `run_still_active`, `server_read_only`, `owned_by_another`.
    """
    require_own(s, _owner(s, info.run_id or info.id, bool(info.run_id)))
    if info.run_id:
        s.require_writable()
        s.store.trash(info.run_id)
    else:
        AdapterStore(s.data_dir).trash(info.id)


@needs(TRAINER)
def restore(s: Services, adapter_id: str, of_run: bool) -> None:
    """Bring an adapter back from the trash.

    Raises UserError `adapter_unknown`, `run_unknown`, `server_read_only`, `owned_by_another`.
    """
    require_own(s, _owner(s, adapter_id, of_run))
    if of_run:
        s.require_writable()
        s.store.restore(adapter_id)
    else:
        AdapterStore(s.data_dir).restore(adapter_id)


@needs(TRAINER)
def start_import(s: Services, source: Path | str, name: str, model_id: str, uploaded: bool = False) -> str:
    """Start to bring an adapter (a folder or a zip file, mlx-lm's or PEFT's) of a base; return the job's id.

    Raises UserError `path_of_windows`, `path_for_admins`, `file_missing`, `name_empty`, `model_…`.
    """
    source = typed_path(str(source)).resolve()
    s.require_path(source)
    if not source.exists():
        raise UserError("file_missing", file=str(source))
    if not name.strip():
        raise UserError("name_empty")
    model = find_model(s, model_id)
    request = {"path": str(source), "name": " ".join(name.split()), "model": model.id, "model_path": str(model.path), "uploaded": uploaded}
    return jobs.start(s, "import_adapter", request)
