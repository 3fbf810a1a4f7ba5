"""A base's weights one at a time, read from disk when they are asked for and held by nobody. Knows no adapters' algebra."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.utils import MODEL_REMAPPING
from mlx_lm.utils import load_model as load_mlx_model

from tunesmith.errors import UserError
from tunesmith.models.model_config import rope_settings
from tunesmith.models.safety import check_model_folder

# what mlx-lm's model classes raise for settings that are missing, of another type, or do not fit the weights
UNFIT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, AssertionError)
Array = np.ndarray[Any, np.dtype[np.float32]]


def open_lazily(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return a checked model whose weights are not yet read, in their own dtypes, and its config.

    Raises UserError `model_…` (see `check_model_folder`), `model_type_unsupported`, `model_weights_broken`.
    """
    config = check_model_folder(path)
    try:
        model, found = load_mlx_model(path, lazy=True, model_config=rope_settings(config))
    except UNFIT as error:
        if "not supported" in str(error):
            raise UserError("model_type_unsupported", folder=path.name, model_type=config["model_type"]) from error
        raise UserError("model_weights_broken", folder=path.name, file="model.safetensors", reason=str(error)[:200]) from error
    return model, found


def require_supported(config: Mapping[str, Any], folder: str) -> None:
    """Refuse a type of model that mlx-lm has no class for, before there are weights. Raises UserError `model_type_unsupported`."""
    model_type = str(config["model_type"])
    try:
        known = find_spec(f"mlx_lm.models.{MODEL_REMAPPING.get(model_type, model_type)}")
    except ModuleNotFoundError:  # a dot in it
        known = None
    if not known:
        raise UserError("model_type_unsupported", folder=folder, model_type=model_type)


def dense_weight(module: nn.Module) -> mx.array:
    """Return the weight [out, in] of a linear layer or embedding, dequantised where it is quantised, not yet computed."""
    if isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding):
        return mx.dequantize(module.weight, module.scales, module.get("biases"), module.group_size, module.bits, mode=module.mode)
    weight: mx.array = module.weight
    return weight


class BaseWeights:
    """The linear layers of a model folder by name. Opening reads headers only. Raises UserError `model_…`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        model, self.config = open_lazily(path)
        self.layers = len(model.layers)
        self._unread = _weighted_modules(model)
        self._last: tuple[str, Array] | None = None
        self._shapes = {name: _shape(module) for name, module in self._unread.items()}

    @property
    def names(self) -> list[str]:
        """The names of all linear layers."""
        return list(self._shapes)

    def shape(self, name: str) -> tuple[int, int] | None:
        """Return (out, in) of a module's weight, None when there is no such module."""
        return self._shapes.get(name)

    def read(self, name: str) -> Array:
        """Return a module's weight [out, in] in float32; the last one read is kept, for several adapters of one module."""
        if self._last is None or self._last[0] != name:
            if name not in self._unread:
                self._unread = _weighted_modules(open_lazily(self.path)[0])
            module = self._unread.pop(name)  # what was read would stay in memory with its module
            module.set_dtype(mx.float32)
            self._last = (name, np.array(dense_weight(module).astype(mx.float32)))
        return self._last[1]


def _weighted_modules(model: Any) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.QuantizedLinear)}


def _shape(module: Any) -> tuple[int, int]:
    out, columns = module.weight.shape
    packed = isinstance(module, nn.QuantizedLinear)
    return int(out), int(columns * 32 // module.bits if packed else columns)
