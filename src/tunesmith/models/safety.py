"""Refuses model folders that are hostile or broken, before anything is loaded. Reads headers only; knows no mlx.

MLX's maintainers do not treat loader faults as security issues, so this file is the boundary.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import orjson

from tunesmith.errors import UserError

LARGEST_CONFIG_BYTES = 2_000_000
LARGEST_HEADER_BYTES = 100_000_000
LIMITS = {
    "num_hidden_layers": 1000, "hidden_size": 131_072, "intermediate_size": 1_048_576, "vocab_size": 4_000_000,
    "num_attention_heads": 4096, "num_key_value_heads": 4096, "head_dim": 8192, "num_experts": 4096, "num_local_experts": 4096,
}  # fmt: skip
CODE_KEYS = ("model_file", "auto_map")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def check_model_folder(path: Path) -> dict[str, Any]:
    """Return config.json of a folder that may be loaded.

    Raises UserError `model_not_a_folder`, `model_config_missing`, `model_config_broken`, `model_runs_code`, `model_config_unbounded`,
    `model_weights_missing`, `model_weights_pickled`, `model_weights_broken`, `model_tokenizer_missing`.
    """
    if not path.is_dir():
        raise UserError("model_not_a_folder", folder=str(path))
    config = _read_config(path)
    for key in CODE_KEYS:
        if key in config:
            raise UserError("model_runs_code", folder=path.name, key=key)
    _check_bounds(path, config)
    _check_bounds(path, config.get("text_config") or {})
    files = sorted(path.glob("*.safetensors"))
    if not files:
        pickled = any(path.glob("*.bin")) or any(path.glob("*.pt")) or any(path.glob("*.pth"))
        raise UserError("model_weights_pickled" if pickled else "model_weights_missing", folder=path.name)
    for file in files:
        read_safetensors_header(file)
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise UserError("model_tokenizer_missing", folder=path.name)
    return config


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        raise UserError("model_config_missing", folder=path.name)
    if file.stat().st_size > LARGEST_CONFIG_BYTES:
        raise UserError("model_config_broken", folder=path.name, reason="size")
    try:
        config = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise UserError("model_config_broken", folder=path.name, reason=str(error)) from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise UserError("model_config_broken", folder=path.name, reason="model_type")
    return config


def _check_bounds(path: Path, config: Any) -> None:
    if not isinstance(config, dict):
        raise UserError("model_config_broken", folder=path.name, reason="text_config")
    for key, largest in LIMITS.items():
        value = config.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest):
            raise UserError("model_config_unbounded", folder=path.name, key=key, value=str(value)[:50], largest=largest)


def read_safetensors_header(file: Path) -> dict[str, Any]:
    """Return the header of a safetensors file, offsets checked against its size. Raises UserError `model_weights_broken`."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(LARGEST_HEADER_BYTES, size - 8):
                raise ValueError("header length")
            header = orjson.loads(stream.read(length))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        if any(not 0 <= entry["data_offsets"][0] <= entry["data_offsets"][1] <= size - 8 - length for entry in tensors.values()):
            raise ValueError("offsets")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError("model_weights_broken", folder=file.parent.name, file=file.name, reason=str(error)[:100]) from error
    return tensors
