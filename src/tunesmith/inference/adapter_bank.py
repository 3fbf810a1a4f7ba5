"""One copy of a base model that can wear any of its adapters, changed between two tokens by swapping what is in its places.

A place is a name in the model's tree: LoRA and DoRA put a layer around the base's own there, full tuning puts other weights.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.tuner.dora import DoRALinear
from mlx_lm.tuner.lora import LoRALinear

from tunesmith.errors import UserError
from tunesmith.models.adapter_files import load_adapter_weights, read_adapter_config
from tunesmith.models.loading import LoadedModel, hash_model

WRAPPERS = {"lora": LoRALinear, "dora": DoRALinear}


@dataclass(frozen=True)
class Adapter:
    """What an adapter puts in the model's places: layers (LoRA, DoRA) or arrays (full), by name."""

    parts: dict[str, Any]


def scale_adapter(adapter: Adapter, strength: float, number: int = 1) -> Adapter:
    """Return a copy that adds `strength` times as much; `number` is that of the answer. Raises UserError `adapter_strength_unsupported`."""
    if strength == 1:
        return adapter
    if not all(type(part) is LoRALinear for part in adapter.parts.values()):
        raise UserError("adapter_strength_unsupported", number=number)
    return Adapter({place: _scaled_copy(part, strength) for place, part in adapter.parts.items()})


def _scaled_copy(part: LoRALinear, strength: float) -> LoRALinear:
    copy = LoRALinear.from_base(part.linear, r=part.lora_a.shape[1], scale=part.scale * strength)
    copy.lora_a, copy.lora_b = part.lora_a, part.lora_b
    copy.eval()
    return copy


class AdapterBank:
    """Keeps what the base has in every place that an adapter touches; without an adapter, the base is what it was."""

    def __init__(self, base: LoadedModel) -> None:
        self.base = base
        self._hash = hash_model(base.path)
        self._own: dict[str, Any] = {}

    def load(self, folder: Path) -> Adapter:
        """Read an adapter of this base.

        Raises UserError `adapter_wrong_base`, `adapter_broken`, `adapter_missing`, `adapter_kind_unsupported`.
        """
        self.activate(None)  # what the places hold now must be the base's own
        config = read_adapter_config(folder, self.base.path, self._hash)
        kind = str(config.get("fine_tune_type", "lora"))
        if kind not in {*WRAPPERS, "full"}:
            raise UserError("adapter_kind_unsupported", adapter=folder.parent.name, kind=kind)
        weights = load_adapter_weights(folder)
        if kind == "full":
            parts: dict[str, Any] = {name: self._fitting_array(folder, name, array) for name, array in weights.items()}
        else:
            grouped: dict[str, dict[str, mx.array]] = {}
            for name, array in weights.items():
                place, _, leaf = name.rpartition(".")
                grouped.setdefault(place, {})[leaf] = array
            scale = float(config["lora_parameters"]["scale"])
            parts = {place: self._wrap(folder, place, kind, arrays, scale) for place, arrays in grouped.items()}
        return Adapter(parts)

    def _fitting_array(self, folder: Path, name: str, array: mx.array) -> mx.array:
        own = self._own_part(folder, name)
        if own.shape != array.shape:
            raise self._wrong_base(folder)
        return array.astype(own.dtype)

    def _wrap(self, folder: Path, place: str, kind: str, arrays: dict[str, mx.array], scale: float) -> Any:
        """Return the base's own linear layer with an adapter around it: lora_a [in, r], lora_b [r, out], and DoRA's m [out]."""
        linear = self._own_part(folder, place)
        if not isinstance(linear, nn.Linear | nn.QuantizedLinear):
            raise UserError("adapter_kind_unsupported", adapter=folder.parent.name, kind=type(linear).__name__)
        wanted = {"lora_a", "lora_b", "m"} if kind == "dora" else {"lora_a", "lora_b"}
        if set(arrays) != wanted:
            raise UserError("adapter_broken", folder=str(folder), file="adapters.safetensors")
        wrapper = WRAPPERS[kind].from_base(linear, r=arrays["lora_a"].shape[1], dropout=0.0, scale=scale)
        if any(wrapper[leaf].shape != array.shape for leaf, array in arrays.items()):
            raise self._wrong_base(folder)
        for leaf, array in arrays.items():
            wrapper[leaf] = array
        wrapper.eval()
        return wrapper

    def _wrong_base(self, folder: Path) -> UserError:
        return UserError("adapter_wrong_base", adapter=folder.parent.name, made_for="?", model=self.base.path.name)

    def _own_part(self, folder: Path, place: str) -> Any:
        if place not in self._own:
            try:
                parent, child = self._parent_of(place)
                self._own[place] = parent[child]
            except (KeyError, IndexError, TypeError, AttributeError) as error:
                raise self._wrong_base(folder) from error
        return self._own[place]

    def _parent_of(self, place: str) -> tuple[Any, str]:
        *parents, child = place.split(".")
        return functools.reduce(_step_into, parents, self.base.model), child

    def activate(self, adapter: Adapter | None) -> None:
        """Wear an adapter, or none: acts on every token computed from now on."""
        for place in sorted(self._own):
            self._put(place, self._own[place])
        for place, part in adapter.parts.items() if adapter else ():
            self._put(place, part)

    def _put(self, place: str, part: Any) -> None:
        parent, child = self._parent_of(place)
        parent[child] = part


def _step_into(module: Any, name: str) -> Any:
    return module[int(name)] if isinstance(module, list) else module[name]
