"""Adapters on disk in mlx-lm's format: weights and config in a folder that is written as a whole. Knows no run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import orjson

from tunesmith.errors import UserError
from tunesmith.store.files import read_json
from tunesmith.store.saved_folders import replaced_whole, write_flushed

WEIGHTS, CONFIG = "adapters.safetensors", "adapter_config.json"


def save_folder(target: Path, arrays: Mapping[str, Mapping[str, mx.array]], records: Mapping[str, Any]) -> None:
    """Replace a folder as a whole by safetensors files and JSON records. Raises UserError `disk_full`; then the old folder is as it was."""
    with replaced_whole(target) as aside:
        for name, tensors in arrays.items():
            try:
                mx.save_safetensors(str(aside / name), dict(tensors), metadata={"format": "mlx"})
            except RuntimeError as error:  # mlx's own writer
                raise UserError("disk_full", folder=str(target.parent)) from error
        for name, record in records.items():
            write_flushed(aside / name, orjson.dumps(record, option=orjson.OPT_INDENT_2))


def adapter_config(
    fine_tune_type: str, num_layers: int, lora_parameters: Mapping[str, Any], base: Path, base_hash: str, quantize: str = "none",
    template: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return adapter_config.json with mlx-lm's keys, and ours: the base, how it was held, the prompt format when it is not the base's."""
    config = {
        "fine_tune_type": fine_tune_type, "num_layers": num_layers, "lora_parameters": dict(lora_parameters), "model": base.name,
        "base_model_hash": base_hash, "quantize": quantize,
    }  # fmt: skip
    return config | ({"chat_template": template} if template else {})


def read_template(folder: Path) -> str | None:
    """Return the prompt format that an adapter learned, None for its base's own."""
    try:
        config = read_json(folder / CONFIG)
    except (FileNotFoundError, UserError):
        return None  # loading the adapter says what is wrong
    template = config.get("chat_template") if isinstance(config, dict) else None
    return template if isinstance(template, str) else None


def read_adapter_config(folder: Path, base: Path, base_hash: str) -> dict[str, Any]:
    """Return the config of an adapter that was made for this base.

    Raises UserError `adapter_missing`, `adapter_broken`, `adapter_wrong_base`.
    """
    try:
        config = read_json(folder / CONFIG)
    except FileNotFoundError as error:
        raise UserError("adapter_missing", run=folder.parent.name) from error
    if not isinstance(config, dict) or not isinstance(config.get("lora_parameters"), dict):
        raise UserError("adapter_broken", folder=str(folder), file=CONFIG)
    if config.get("base_model_hash", base_hash) != base_hash:
        raise UserError("adapter_wrong_base", adapter=folder.parent.name, made_for=str(config.get("model")), model=base.name)
    return config


def load_adapter_weights(folder: Path) -> dict[str, mx.array]:
    """Return an adapter's tensors by name. Raises UserError `adapter_broken`."""
    try:
        weights: Any = mx.load(str(folder / WEIGHTS))
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError("adapter_broken", folder=str(folder), file=WEIGHTS) from error
    return dict(weights)
