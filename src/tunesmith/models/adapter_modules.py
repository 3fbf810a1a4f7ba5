"""An adapter's arrays by module, safe to read from a stranger's files and checked against a base; and back to a folder in mlx-lm's format.

Knows no other formats and no algebra.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from tunesmith.errors import UserError
from tunesmith.models.adapter_files import CONFIG, WEIGHTS, adapter_config, save_folder
from tunesmith.models.loading import hash_model
from tunesmith.models.module_names import layer_of, short_name
from tunesmith.models.safety import (
    LARGEST_CONFIG_BYTES,
    LARGEST_TEMPLATE_BYTES,
    check_plain_files,
    read_record,
    read_safetensors_header,
)
from tunesmith.models.weights import Array, BaseWeights, open_lazily

LEAVES = {"lora": {"lora_a", "lora_b"}, "dora": {"lora_a", "lora_b", "m"}}
FLOATS = ("F32", "F16", "BF16")
WIDEST_RANK = 8  # times the layer's width: adapters that were fused lie side by side


@dataclass(frozen=True)
class AdapterModules:
    """An adapter of kind `lora` or `dora`: by module lora_a [in, r], lora_b [r, out] and DoRA's m [out]; what it adds is scaled."""

    kind: str
    scale: float
    modules: Mapping[str, Mapping[str, Array]]
    template: str | None = None

    @property
    def rank(self) -> int:
        """Return the largest rank among the modules."""
        return max((int(arrays["lora_a"].shape[1]) for arrays in self.modules.values()), default=0)


def read_settings(folder: Path, adapter: str) -> dict[str, Any]:
    """Return adapter_config.json of a stranger's folder.

    Raises UserError `adapter_missing`, `adapter_file_broken`, `model_file_not_plain`.
    """
    file = folder / CONFIG
    if not file.exists():
        raise UserError("adapter_missing", run=adapter)
    check_plain_files(folder)
    try:
        if file.stat().st_size > LARGEST_CONFIG_BYTES:
            raise ValueError("size")
        return read_record(file)
    except (ValueError, OSError) as error:
        raise UserError("adapter_file_broken", adapter=adapter, file=CONFIG, reason=str(error)[:200]) from error


def read_tensors(file: Path, adapter: str) -> dict[str, Array]:
    """Return the tensors of an adapter's file in float32, its header checked before anything is read.

    Raises UserError `adapter_file_broken`, `adapter_of_experts`, `adapter_rank_zero`.
    """
    try:
        header = read_safetensors_header(file)
    except UserError as error:
        raise UserError("adapter_file_broken", adapter=adapter, file=file.name, reason=error.facts.get("reason")) from error
    if not header:
        raise UserError("adapter_file_broken", adapter=adapter, file=file.name, reason="0")
    for name, entry in header.items():
        if entry["dtype"] not in FLOATS:
            raise UserError("adapter_file_broken", adapter=adapter, file=file.name, reason=f"{name}: {entry['dtype']}")
        if 0 in entry["shape"]:
            raise UserError("adapter_rank_zero", adapter=adapter, module=name)
    tensors: Any = mx.load(str(file))
    return {name: np.array(array.astype(mx.float32)) for name, array in sorted(tensors.items())}


def read_modules(folder: Path, adapter: str, base: BaseWeights) -> AdapterModules:
    """Return an adapter in mlx-lm's format, all of it fitting the base.

    Raises UserError `adapter_file_broken`, `adapter_wrong_base`, `adapter_kind_unsupported`, `adapter_unknown_keys`,
    `adapter_not_finite`, `adapter_rank_zero`, `adapter_of_experts`, `adapter_of_embedding`, `adapter_does_not_fit`.
    """
    settings = read_settings(folder, adapter)
    kind, parameters = settings.get("fine_tune_type", "lora"), settings.get("lora_parameters")
    if not isinstance(kind, str) or kind not in LEAVES:
        raise UserError("adapter_kind_unsupported", adapter=adapter, kind=str(kind)[:50])
    if settings.get("base_model_hash") not in (None, hash_model(base.path)):
        raise UserError("adapter_wrong_base", adapter=adapter, made_for=str(settings.get("model"))[:200], model=base.path.name)
    scale = parameters.get("scale", 20.0) if isinstance(parameters, dict) else None
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale):
        raise UserError("adapter_file_broken", adapter=adapter, file=CONFIG, reason="lora_parameters")
    modules: dict[str, dict[str, Array]] = {}
    for key, array in read_tensors(folder / WEIGHTS, adapter).items():
        module, _, leaf = key.rpartition(".")
        if leaf not in LEAVES[kind]:
            raise UserError("adapter_unknown_keys", adapter=adapter, key=key)
        modules.setdefault(module, {})[leaf] = array
    check_modules(adapter, kind, modules, base)
    template = settings.get("chat_template")
    fitting = isinstance(template, str) and len(template) <= LARGEST_TEMPLATE_BYTES
    return AdapterModules(kind, float(scale), modules, template if fitting else None)


def check_modules(adapter: str, kind: str, modules: Mapping[str, Mapping[str, Array]], base: BaseWeights) -> None:
    """Refuse arrays that are incomplete, not finite or do not fit the base.

    Raises UserError `adapter_unknown_keys`, `adapter_of_experts`, `adapter_of_embedding`, `adapter_not_finite`, `adapter_does_not_fit`.
    """
    for module, arrays in modules.items():
        if any(array.ndim > 2 for array in arrays.values()):
            raise UserError("adapter_of_experts", adapter=adapter, module=module)
        if set(arrays) != LEAVES[kind]:
            raise UserError("adapter_unknown_keys", adapter=adapter, key=module)
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise UserError("adapter_not_finite", adapter=adapter, module=module)
        shape = base.shape(module)
        if shape is None and _is_embedding(base, module):
            raise UserError("adapter_of_embedding", adapter=adapter, module=module)
        _check_shapes(adapter, module, arrays, shape)


def _check_shapes(adapter: str, module: str, arrays: Mapping[str, Array], shape: tuple[int, int] | None) -> None:
    out, columns = shape or (0, 0)
    rank = arrays["lora_a"].shape[-1]
    fitting = {"lora_a": (columns, rank), "lora_b": (rank, out), "m": (out,)}
    # a rank far above the layer's own width adds nothing, and all modules are filled up to the largest rank
    if rank > WIDEST_RANK * max(out, columns) or any(array.shape != fitting[leaf] for leaf, array in arrays.items()):
        found = " × ".join(map(str, (arrays["lora_b"].shape[-1], arrays["lora_a"].shape[0])))
        raise UserError("adapter_does_not_fit", adapter=adapter, module=module, found=found, wanted=f"{out} × {columns}" if shape else "–")


def _is_embedding(base: BaseWeights, module: str) -> bool:
    model, _ = open_lazily(base.path)
    return isinstance(dict(model.named_modules()).get(module), nn.Embedding | nn.QuantizedEmbedding)


def save_modules(target: Path, adapter: AdapterModules, base: BaseWeights, records: Mapping[str, Any] | None = None) -> None:
    """Write an adapter in mlx-lm's format, ranks below the largest filled with zeros; `records` are further JSON files.

    Raises UserError `disk_full`.
    """
    rank = max(1, adapter.rank)
    tensors: dict[str, mx.array] = {}
    for module, arrays in adapter.modules.items():
        missing = rank - arrays["lora_a"].shape[1]
        tensors[f"{module}.lora_a"] = mx.array(np.pad(arrays["lora_a"], ((0, 0), (0, missing))))
        tensors[f"{module}.lora_b"] = mx.array(np.pad(arrays["lora_b"], ((0, missing), (0, 0))))
        if adapter.kind == "dora":
            tensors[f"{module}.m"] = mx.array(arrays["m"])
    layers = [layer for module in adapter.modules if (layer := layer_of(module)) is not None]
    parameters = {"rank": rank, "scale": adapter.scale, "dropout": 0.0, "keys": sorted({short_name(name) for name in adapter.modules})}
    num_layers = base.layers - min(layers) if layers else 0
    config = adapter_config(adapter.kind, num_layers, parameters, base.path, hash_model(base.path), template=adapter.template)
    save_folder(target, {WEIGHTS: tensors}, {CONFIG: config, **(records or {})})
