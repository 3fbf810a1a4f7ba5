"""Loads a checked base model and tokenizer. Knows no data and no training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.utils import load_config
from mlx_lm.utils import load_tokenizer as load_mlx_tokenizer

from tunesmith.errors import UserError
from tunesmith.models.safety import check_model_folder
from tunesmith.models.weights import open_lazily


@dataclass
class LoadedModel:
    """A base model, its tokenizer and config.json."""

    model: Any
    tokenizer: Any
    config: dict[str, Any]
    path: Path


def load_tokenizer(path: Path) -> Any:
    """Return the tokenizer of a checked folder, remote code refused; all its end tokens, of config.json or generation_config.json.

    Raises UserError `model_…`.
    """
    check_model_folder(path)
    config = load_config(path)
    try:
        return load_mlx_tokenizer(path, {"trust_remote_code": False}, eos_token_ids=config.get("eos_token_id"))
    except Exception as error:  # the tokenizers library raises nothing more exact
        raise UserError("model_tokenizer_broken", folder=path.name, file="tokenizer.json", reason=str(error)[:200]) from error


def load_model(path: Path) -> LoadedModel:
    """Load a base model. On a CPU floating weights become float32 (float16 is ten times slower there).

    Raises UserError `model_…` (see `check_model_folder`), `model_type_unsupported`, `model_weights_broken`.
    """
    model, config = open_lazily(path)
    if mx.default_device() == mx.cpu:
        model.set_dtype(mx.float32)
    try:
        mx.eval(model.parameters())
    except ValueError as error:
        raise UserError("model_weights_broken", folder=path.name, file="model.safetensors", reason=str(error)[:200]) from error
    if not all(mx.all(mx.isfinite(w)).item() for _, w in tree_flatten(model.parameters()) if mx.issubdtype(w.dtype, mx.floating)):
        raise UserError("model_weights_broken", folder=path.name, file="model.safetensors", reason="not finite")
    return LoadedModel(model, load_tokenizer(path), config, path)


def hash_model(path: Path) -> str:
    """Return a hash that tells base models apart: config.json, and names, sizes and ends of the weight files."""
    digest = hashlib.sha256((path / "config.json").read_bytes())
    for file in sorted(path.glob("*.safetensors")):
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(1 << 20)
            stream.seek(max(0, size - (1 << 20)))
            digest.update(f"{file.name}:{size}".encode() + head + stream.read())
    return digest.hexdigest()


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Return (all, trainable) numbers of parameters; packed quantised weights count their integers."""
    total = sum(w.size for _, w in tree_flatten(model.parameters()))
    return int(total), int(sum(w.size for _, w in tree_flatten(model.trainable_parameters())))
