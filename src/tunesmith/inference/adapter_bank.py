"""One copy of a base model that can wear any of its adapters, changed between two tokens by swapping arrays."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.tuner.lora import LoRALinear

from tunesmith.errors import UserError
from tunesmith.models.adapter_files import load_adapter_weights, read_adapter_config
from tunesmith.models.loading import LoadedModel, hash_model


@dataclass(frozen=True)
class Adapter:
    """An adapter's factors by module name: (lora_a [in, r], lora_b [r, out]), and its scale."""

    factors: dict[str, tuple[mx.array, mx.array]]
    scale: float


class AdapterBank:
    """Wraps each adapted linear layer once; the base is every wrapper at scale 0, which adds exactly nothing."""

    def __init__(self, base: LoadedModel) -> None:
        self.base = base
        self._hash = hash_model(base.path)
        self._wrapped: dict[str, Any] = {}

    def load(self, folder: Path) -> Adapter:
        """Read an adapter of this base and make room for it. Raises UserError `adapter_wrong_base`, `adapter_broken`, `adapter_missing`."""
        config = read_adapter_config(folder, self.base.path, self._hash)
        if config.get("fine_tune_type", "lora") != "lora":
            raise UserError("adapter_kind_unsupported", adapter=folder.parent.name, kind=str(config["fine_tune_type"]))
        weights = load_adapter_weights(folder)
        names = sorted({name.rsplit(".", 1)[0] for name in weights})
        try:
            factors = {name: (weights[f"{name}.lora_a"], weights[f"{name}.lora_b"]) for name in names}
        except KeyError as error:
            raise UserError("adapter_broken", folder=str(folder), file="adapters.safetensors") from error
        for name, (a, b) in factors.items():
            self._make_room(folder, name, a, b)
        return Adapter(factors, float(config["lora_parameters"]["scale"]))

    def _make_room(self, folder: Path, name: str, a: mx.array, b: mx.array) -> None:
        wrapped = self._wrapped.get(name) or self._wrap(folder, name)
        if wrapped.lora_a.shape[0] != a.shape[0] or wrapped.lora_b.shape[1] != b.shape[1]:
            raise UserError("adapter_wrong_base", adapter=folder.parent.name, made_for="?", model=self.base.path.name)
        self._wrapped[name] = wrapped

    def _wrap(self, folder: Path, name: str) -> Any:
        parent_name, _, child = name.rpartition(".")
        try:
            parent = functools.reduce(_step_into, parent_name.split("."), self.base.model)
            linear = parent[child]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise UserError("adapter_wrong_base", adapter=folder.parent.name, made_for="?", model=self.base.path.name) from error
        if not isinstance(linear, nn.Linear | nn.QuantizedLinear):
            raise UserError("adapter_kind_unsupported", adapter=folder.parent.name, kind=type(linear).__name__)
        wrapper = LoRALinear.from_base(linear, r=1, dropout=0.0, scale=0.0)
        wrapper.eval()
        parent[child] = wrapper
        return wrapper

    def activate(self, adapter: Adapter | None) -> None:
        """Wear an adapter, or none: acts on every token computed from now on."""
        for name, layer in self._wrapped.items():
            if adapter is not None and name in adapter.factors:
                layer.lora_a, layer.lora_b = adapter.factors[name]
                layer.scale = adapter.scale
            else:
                layer.scale = 0.0


def _step_into(module: Any, name: str) -> Any:
    return module[int(name)] if isinstance(module, list) else module[name]
