"""Who can be asked: a base, a model that we made, an adapter (in any strength), a checkpoint of a run. One list for every comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.services.adapters import AdapterInfo, find_adapter, list_adapters
from tunesmith.services.context import Services
from tunesmith.services.lineage import read_manifest
from tunesmith.services.models import find_model, list_models
from tunesmith.store.experiments import Experiment
from tunesmith.store.files import read_json

LEAST_STRENGTH, MOST_STRENGTH = 0.0, 4.0


@dataclass(frozen=True)
class VariantInfo:
    """A model that answers. `key` finds it again: `model:<id>`, `adapter:<id>`, `checkpoint:<run>/<step>`, with `@<strength>` at the end.

    `model_path` is the base's, `adapter_path` None for a model as it is; `run_id` the run that it comes from, if one.
    """

    key: str
    name: str
    model: str
    model_path: Path
    created_at: float
    adapter_path: Path | None = None
    base_hash: str = ""
    adapter_kind: str = ""
    strength: float = 1.0
    run_id: str = ""
    step: int = 0
    made: bool = False

    @property
    def id(self) -> str:
        """Its key: lists to choose from call it so."""
        return self.key

    @property
    def plain_key(self) -> str:
        """Its key without the strength."""
        return _split_strength(self.key)[0]

    @property
    def kind(self) -> str:
        """`model`, `adapter` or `checkpoint`."""
        return self.key.partition(":")[0]


def list_variants(s: Services, checkpoints: bool = False) -> list[VariantInfo]:
    """Return what can be asked: adapters newest first, then models; with `checkpoints`, those of all runs after the adapters."""
    found = [_of_adapter(info) for info in list_adapters(s) if info.problem is None]
    if checkpoints:
        found += [each for run in s.store.all()[0] for each in _checkpoints(s, run)]
    return found + [_of_model(model.id, model.path) for model in list_models(s) if model.problem is None]


def checkpoints_of(s: Services, run_id: str) -> list[VariantInfo]:
    """Return a run's kept checkpoints, the latest first. Raises UserError `run_unknown`."""
    return _checkpoints(s, s.store.get(run_id))


def find_variant(s: Services, key: str) -> VariantInfo:
    """Return whom a key means; one without a kind is an adapter's or a model's id, or a name that only one has.

    Raises UserError `variant_unknown`, `variant_name_shared`, `adapter_…`, `model_…`, `strength_wrong`, `strength_not_of_kind`.
    """
    plain, strength = _split_strength(key)
    kind, _, name = plain.partition(":")
    if kind == "model" and name:
        found = _find_model(s, name)
    elif kind == "checkpoint" and name:
        found = _find_checkpoint(s, name)
    elif kind == "adapter" and name:
        found = _of_adapter(find_adapter(s, name))
    else:
        found = _find_any(s, plain)
    return found if strength is None else with_strength(found, strength)


def with_strength(variant: VariantInfo, strength: float) -> VariantInfo:
    """Return an adapter so many times as strong as it was made. Raises UserError `strength_wrong`, `strength_not_of_kind`."""
    if variant.adapter_path is None or not LEAST_STRENGTH <= strength <= MOST_STRENGTH:
        raise UserError("strength_wrong", name=variant.name, strength=strength, least=LEAST_STRENGTH, most=MOST_STRENGTH)
    if strength != 1 and variant.adapter_kind != "lora":
        raise UserError("strength_not_of_kind", name=variant.name, kind=variant.adapter_kind)
    plain = _split_strength(variant.key)[0]
    return dataclasses.replace(variant, strength=strength, key=plain if strength == 1 else f"{plain}@{strength:g}")


def as_record(variant: VariantInfo) -> dict[str, Any]:
    """Return a variant as the request of a job has it: plain values, absolute paths."""
    return {
        "key": variant.key, "name": variant.name, "model": variant.model, "model_path": str(variant.model_path),
        "adapter_path": str(variant.adapter_path or ""), "strength": variant.strength, "step": variant.step, "run": variant.run_id,
        "created_at": variant.created_at, "made": variant.made,
    }  # fmt: skip


def from_record(record: Mapping[str, Any]) -> VariantInfo:
    """Return the variant of a job's request, as it was when the job began."""
    return VariantInfo(
        key=record["key"], name=record["name"], model=record["model"], model_path=Path(record["model_path"]),
        created_at=record.get("created_at", 0.0), adapter_path=Path(record["adapter_path"]) if record["adapter_path"] else None,
        strength=record["strength"], run_id=record["run"], step=record["step"], made=record.get("made", False),
    )  # fmt: skip


def plain_names(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return what the variants of a job's request are called, by key, in no language: name, step, strength; two alike by their keys."""
    names = {record["key"]: _plain_name(record) for record in records}
    return {key: f"{name} ({key})" if list(names.values()).count(name) > 1 else name for key, name in names.items()}


def _plain_name(record: Mapping[str, Any]) -> str:
    step = f" #{record['step']}" if record["step"] else ""
    return f"{record['name']}{step}" if record["strength"] == 1 else f"{record['name']}{step} × {record['strength']:g}"


def base_of(s: Services, variant: VariantInfo) -> VariantInfo:
    """Return the model that an adapter is of, a model itself."""
    if variant.adapter_path is None:
        return variant
    known = next((model.id for model in list_models(s) if model.path == variant.model_path), variant.model)
    return _of_model(known, variant.model_path)


def by_base(variants: Sequence[VariantInfo]) -> list[list[int]]:
    """Return the places of variants of one base together, in the order of their first: each group answers from one copy of it."""
    groups: dict[Path, list[int]] = {}
    for place, variant in enumerate(variants):
        groups.setdefault(variant.model_path, []).append(place)
    return list(groups.values())


def _split_strength(key: str) -> tuple[str, float | None]:
    plain, at, strength = key.rpartition("@")
    try:
        return (plain, float(strength)) if at else (key, None)
    except ValueError:
        return key, None


def _of_adapter(info: AdapterInfo) -> VariantInfo:
    return VariantInfo(
        key=f"adapter:{info.id}", name=info.name, model=info.model, model_path=info.model_path, created_at=info.created_at,
        adapter_path=info.path, base_hash=info.base_hash, adapter_kind=info.kind, run_id=info.run_id, made=info.origin == "fused",
    )  # fmt: skip


def _of_model(model_id: str, path: Path) -> VariantInfo:
    manifest = read_manifest(path)
    made_at = manifest.get("made_at")
    return VariantInfo(
        key=f"model:{model_id}", name=model_id, model=model_id, model_path=path, made=bool(manifest),
        created_at=float(made_at) if isinstance(made_at, int | float) else 0.0,
    )  # fmt: skip


def _checkpoints(s: Services, run: Experiment) -> list[VariantInfo]:
    folder = s.store.folder(run.id)
    found = []
    for step in reversed(folder.checkpoint_steps()):
        path = folder.checkpoint(step)
        try:
            config, created_at = read_json(path / "adapter_config.json"), path.stat().st_mtime
            base_hash, kind = str(config.get("base_model_hash", "")), str(config.get("fine_tune_type", "lora"))
        except (UserError, OSError, AttributeError):
            continue  # broken, or its run has just dropped it: it hides no other
        found.append(
            VariantInfo(
                key=f"checkpoint:{run.id}/{step}", name=s.store.display_name(run), model=run.model, model_path=Path(run.model_path),
                created_at=created_at, adapter_path=path, base_hash=base_hash, adapter_kind=kind, run_id=run.id, step=step,
            )
        )  # fmt: skip
    return found


def _find_model(s: Services, name: str) -> VariantInfo:
    model = find_model(s, name)
    return _of_model(model.id, model.path)


def _find_checkpoint(s: Services, name: str) -> VariantInfo:
    run_id, _, step = name.rpartition("/")
    for each in checkpoints_of(s, run_id):
        if str(each.step) == step:
            return each
    raise UserError("variant_unknown", name=f"checkpoint:{name}")


def _find_any(s: Services, name: str) -> VariantInfo:
    try:
        return _of_adapter(find_adapter(s, name))
    except UserError as error:
        if error.code != "adapter_missing":
            raise
    try:
        return _find_model(s, name)
    except UserError as error:
        if error.code != "model_unknown":
            raise
    named = [variant for variant in list_variants(s) if variant.name == name]
    if len(named) > 1:
        raise UserError("variant_name_shared", name=name, keys=", ".join(variant.key for variant in named))
    if not named:
        raise UserError("variant_unknown", name=name)
    return named[0]
