"""Adapter folders to deltas by module, checked against their base; and fused deltas back to an adapter folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from tunesmith.errors import UserError
from tunesmith.fusion.deltas import Array, Delta, LowRank, rescale_rows
from tunesmith.fusion.layered import layer_of, short_name
from tunesmith.models.adapter_files import (
    CONFIG,
    WEIGHTS,
    adapter_config,
    load_adapter_weights,
    read_adapter_config,
    read_template,
    save_folder,
)
from tunesmith.models.loading import hash_model
from tunesmith.models.weights import BaseWeights

LEAVES = {"lora": {"lora_a", "lora_b"}, "dora": {"lora_a", "lora_b", "m"}}


@dataclass(frozen=True)
class AdapterFactors:
    """One adapter's arrays by module: lora_a [in, r], lora_b [r, out], and DoRA's m [out]."""

    name: str
    kind: str
    scale: float
    modules: Mapping[str, Mapping[str, Array]]
    template: str | None

    def delta(self, module: str, base: BaseWeights) -> Delta | None:
        """Return what the adapter adds to a module, None when it leaves it alone; DoRA's comes from the base's weight."""
        arrays = self.modules.get(module)
        if arrays is None:
            return None
        factors = LowRank(arrays["lora_a"], arrays["lora_b"], self.scale)
        return factors if self.kind == "lora" else rescale_rows(base.read(module), factors, arrays["m"])

    @property
    def rank(self) -> int:
        """Return the largest rank among the modules."""
        return max(int(arrays["lora_a"].shape[1]) for arrays in self.modules.values())


def read_factors(folder: Path, name: str, base: BaseWeights, base_hash: str) -> AdapterFactors:
    """Return an adapter's factors, all of them fitting the base.

    Raises UserError `adapter_missing`, `adapter_broken`, `adapter_wrong_base`, `adapter_kind_unsupported`, `adapter_unknown_keys`,
    `adapter_not_finite`, `adapter_rank_zero`, `adapter_of_experts`, `adapter_does_not_fit`.
    """
    config = read_adapter_config(folder, base.path, base_hash)
    kind, scale = str(config.get("fine_tune_type", "lora")), config["lora_parameters"].get("scale", 20.0)
    if kind not in LEAVES:
        raise UserError("adapter_kind_unsupported", adapter=name, kind=kind)
    if not isinstance(scale, int | float) or not np.isfinite(scale):
        raise UserError("adapter_broken", folder=str(folder), file=CONFIG)
    modules: dict[str, dict[str, Array]] = {}
    for key, array in load_adapter_weights(folder).items():
        module, _, leaf = key.rpartition(".")
        if leaf not in LEAVES[kind]:
            raise UserError("adapter_unknown_keys", adapter=name, key=key)
        if array.ndim > 2:
            raise UserError("adapter_of_experts", adapter=name, module=module)
        modules.setdefault(module, {})[leaf] = np.array(array.astype(mx.float32))
    if not modules:
        raise UserError("adapter_broken", folder=str(folder), file=WEIGHTS)
    for module, arrays in modules.items():
        _check_module(name, module, arrays, kind, base.shape(module))
    return AdapterFactors(name, kind, float(scale), modules, read_template(folder))


def _check_module(name: str, module: str, arrays: Mapping[str, Array], kind: str, shape: tuple[int, int] | None) -> None:
    if set(arrays) != LEAVES[kind]:
        raise UserError("adapter_unknown_keys", adapter=name, key=module)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise UserError("adapter_not_finite", adapter=name, module=module)
    rank = arrays["lora_a"].shape[-1]
    if not rank:
        raise UserError("adapter_rank_zero", adapter=name, module=module)
    out, columns = shape or (0, 0)
    fitting = {"lora_a": (columns, rank), "lora_b": (rank, out), "m": (out,)}
    if any(array.shape != fitting[leaf] for leaf, array in arrays.items()):
        found = " × ".join(map(str, (arrays["lora_b"].shape[-1], arrays["lora_a"].shape[0])))
        raise UserError("adapter_does_not_fit", adapter=name, module=module, found=found, wanted=f"{out} × {columns}" if shape else "–")


def all_modules(adapters: Sequence[AdapterFactors]) -> list[str]:
    """Return the modules that any of the adapters changes, in the order of the layers."""
    names = {module for adapter in adapters for module in adapter.modules}
    return sorted(names, key=lambda name: (layer_of(name) is None, layer_of(name) or 0, name))


def write_adapter(
    target: Path, factors: Mapping[str, LowRank], base: BaseWeights, record: Mapping[str, Any], template: str | None = None
) -> None:
    """Write fused factors as an adapter in mlx-lm's format; ranks below the largest are filled with zeros.

    Raises UserError `disk_full`.
    """
    rank = max(1, max((delta.rank for delta in factors.values()), default=1))
    arrays: dict[str, mx.array] = {}
    for module, delta in factors.items():
        missing = rank - delta.rank
        arrays[f"{module}.lora_a"] = mx.array(np.pad(delta.a, ((0, 0), (0, missing))))
        arrays[f"{module}.lora_b"] = mx.array(np.pad(delta.b * np.float32(delta.scale), ((0, missing), (0, 0))))
    layers = [layer for module in factors if (layer := layer_of(module)) is not None]
    parameters = {"rank": rank, "scale": 1.0, "dropout": 0.0, "keys": sorted({short_name(module) for module in factors})}
    num_layers = base.layers - min(layers) if layers else 0
    config = adapter_config("lora", num_layers, parameters, base.path, hash_model(base.path), template=template)
    save_folder(target, {WEIGHTS: arrays}, {CONFIG: config, "fusion.json": dict(record)})
