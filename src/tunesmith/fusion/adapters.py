"""Adapter folders to changes of weights by module, and fused factors back to an adapter folder. Knows no methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.fusion.deltas import Array, Delta, LowRank, rescale_rows
from tunesmith.models.adapter_modules import AdapterModules, read_modules, save_modules
from tunesmith.models.module_names import layer_of
from tunesmith.models.weights import BaseWeights


@dataclass(frozen=True)
class AdapterFactors:
    """One adapter's arrays, and what people call it."""

    name: str
    found: AdapterModules

    @property
    def modules(self) -> Mapping[str, Mapping[str, Array]]:
        """Return by module lora_a [in, r], lora_b [r, out], and DoRA's m [out]."""
        return self.found.modules

    @property
    def rank(self) -> int:
        """Return the largest rank among the modules."""
        return self.found.rank

    def delta(self, module: str, base: BaseWeights) -> Delta | None:
        """Return what the adapter adds to a module, None when it leaves it alone; DoRA's comes from the base's weight."""
        arrays = self.modules.get(module)
        if arrays is None:
            return None
        factors = LowRank(arrays["lora_a"], arrays["lora_b"], self.found.scale)
        return factors if self.found.kind == "lora" else rescale_rows(base.read(module), factors, arrays["m"])


def read_factors(folder: Path, name: str, base: BaseWeights) -> AdapterFactors:
    """Return an adapter's factors, all of them fitting the base. Raises UserError `adapter_…` as `read_modules` does."""
    return AdapterFactors(name, read_modules(folder, name, base))


def all_modules(adapters: Sequence[AdapterFactors]) -> list[str]:
    """Return the modules that any of the adapters changes, in the order of the layers."""
    names = {module for adapter in adapters for module in adapter.modules}
    return sorted(names, key=lambda name: (layer_of(name) is None, layer_of(name) or 0, name))


def write_adapter(
    target: Path, factors: Mapping[str, LowRank], base: BaseWeights, record: Mapping[str, Any], template: str | None = None
) -> None:
    """Write fused factors as an adapter in mlx-lm's format; `record` tells how they were made. Raises UserError `disk_full`."""
    modules = {name: {"lora_a": delta.a, "lora_b": delta.b * np.float32(delta.scale)} for name, delta in factors.items()}
    save_modules(target, AdapterModules("lora", 1.0, modules, template), base, {"fusion.json": dict(record)})
