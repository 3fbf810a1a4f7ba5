"""A model's weights with an adapter in them, tensor by tensor, quantised layers made dense. Knows no files to write and no fusion.

LoRA: W + s·(A B)ᵀ. DoRA: rows of that, brought to the learned magnitudes (Liu et al., arXiv 2402.09353). Full tuning: the tuned weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import dequantize_model

from tunesmith.errors import UserError
from tunesmith.models.adapter_files import load_adapter_weights, read_adapter_config
from tunesmith.models.loading import hash_model
from tunesmith.models.weights import open_lazily

Change = Callable[[str, mx.array], mx.array]  # (a tensor's name, what it is) -> what it shall be, in any precision
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


@dataclass(frozen=True)
class FusedWeights:
    """A dense model: its config.json, how many tensors it has, and what yields them, computed one by one."""

    config: dict[str, Any]
    count: int
    tensors: Callable[[], Iterator[tuple[str, mx.array]]]


def fused_weights(source: Path, change: Change | None = None, dtype: str = "") -> FusedWeights:
    """Return a model folder's weights, changed, in `dtype` (`float32`, `float16`, `bfloat16`; empty: their own).

    All is computed in float32 and rounded once; what was quantised takes the precision of the rest. Raises UserError `model_…`.
    """
    model, config = open_lazily(source)
    own = {name: array.dtype for name, array in tree_flatten(model.parameters()) if mx.issubdtype(array.dtype, mx.floating)}
    usual = Counter(own.values()).most_common(1)[0][0]
    model.set_dtype(mx.float32)
    model = dequantize_model(model)
    config = {name: value for name, value in config.items() if name not in {"quantization", "quantization_config"}}
    if dtype:
        config = {name: value for name, value in config.items() if name != "dtype"} | {"torch_dtype": dtype}
    flat = dict(tree_flatten(model.parameters()))
    count = len(flat)

    def tensors() -> Iterator[tuple[str, mx.array]]:
        for name in list(flat):
            array = flat.pop(name)  # ours alone from here on, so that its memory is given back
            if mx.issubdtype(array.dtype, mx.floating):
                array = (change(name, array) if change else array).astype(DTYPES[dtype] if dtype else own.get(name, usual))
            yield name, array

    return FusedWeights(config, count, tensors)


def adapter_change(folder: Path, source: Path) -> Change:
    """Return what an adapter of a base does to each weight.

    Raises UserError `adapter_missing`, `adapter_broken`, `adapter_wrong_base` (also when a weight is changed), `adapter_kind_unsupported`.
    """
    config = read_adapter_config(folder, source, hash_model(source))
    kind, arrays = str(config.get("fine_tune_type", "lora")), load_adapter_weights(folder)
    if kind == "full":
        return lambda name, array: arrays.get(name, array)
    if kind not in {"lora", "dora"} or any(array.ndim > 2 for array in arrays.values()):
        raise UserError("adapter_kind_unsupported", adapter=folder.parent.name, kind=kind)
    scale = float(config["lora_parameters"].get("scale", 20.0))

    def change(name: str, array: mx.array) -> mx.array:
        module = name.removesuffix(".weight")
        if f"{module}.lora_a" not in arrays:
            return array
        try:
            return add_factors(array, arrays, module, scale)
        except ValueError as error:  # other shapes
            made_for = str(config.get("model"))
            raise UserError("adapter_wrong_base", adapter=folder.parent.name, made_for=made_for, model=source.name) from error

    return change


def add_factors(weight: mx.array, arrays: Mapping[str, mx.array], module: str, scale: float) -> mx.array:
    """Return, in float32, a weight [out, in] with `<module>.lora_a` [in, r], `.lora_b` [r, out] and, for DoRA, `.m` [out] in it."""
    a, b = (arrays[f"{module}.{leaf}"].astype(mx.float32) for leaf in ("lora_a", "lora_b"))
    summed = weight.astype(mx.float32) + (scale * b.T) @ a.T
    if (magnitude := arrays.get(f"{module}.m")) is not None:
        summed = summed * (magnitude.astype(mx.float32) / mx.linalg.norm(summed, axis=1))[:, None]
    return summed
