"""Adapters on disk in mlx-lm's format, written as a whole: temporary folder, weights, config, manifest last, rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import orjson

from tunesmith.errors import UserError
from tunesmith.store.files import as_user_error, flush_folder, flush_to_disk, read_json, sha256_of, write_all

WEIGHTS, CONFIG, MANIFEST = "adapters.safetensors", "adapter_config.json", "MANIFEST.json"


def save_folder(target: Path, arrays: Mapping[str, Mapping[str, mx.array]], records: Mapping[str, Any]) -> None:
    """Replace a folder as a whole by safetensors files and JSON records; MANIFEST.json (size, SHA-256) is written last.

    Raises UserError `disk_full`; then the old folder is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}.new")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        for name, tensors in arrays.items():
            mx.save_safetensors(str(aside / name), dict(tensors), metadata={"format": "mlx"})
        for name, record in records.items():
            _write(aside / name, orjson.dumps(record, option=orjson.OPT_INDENT_2))
        _write(aside / MANIFEST, orjson.dumps(_describe(aside), option=orjson.OPT_INDENT_2))
        _swap(aside, target)
    except OSError as error:
        raise as_user_error(error, target) from error
    except RuntimeError as error:  # mlx's own writer
        raise UserError("disk_full", folder=str(target.parent)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _describe(folder: Path) -> dict[str, Any]:
    files = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as stream:
            flush_to_disk(stream.fileno())
        files[path.name] = {"size_bytes": path.stat().st_size, "sha256": sha256_of(path)}
    return {"v": 1, "files": files}


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_all(descriptor, data)
        flush_to_disk(descriptor)
    finally:
        os.close(descriptor)


def _swap(aside: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    aside.rename(target)
    flush_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def verify_folder(folder: Path) -> None:
    """Check a saved folder against its manifest. Raises UserError `saved_folder_damaged` naming the file."""
    try:
        files = read_json(folder / MANIFEST)["files"]
    except (FileNotFoundError, KeyError, TypeError) as error:
        raise UserError("saved_folder_damaged", folder=folder.name, file=MANIFEST) from error
    for name, facts in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != facts["size_bytes"] or sha256_of(path) != facts["sha256"]:
            raise UserError("saved_folder_damaged", folder=folder.name, file=name)


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
