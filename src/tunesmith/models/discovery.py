"""Finds models in folders and tells their size from config.json and safetensors headers alone. Loads nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.models.safety import check_model_folder, read_safetensors_header, weight_files


@dataclass(frozen=True)
class ModelInfo:
    """A model folder; `problem` tells why it cannot be used."""

    id: str
    path: Path
    model_type: str = ""
    parameters: int = 0
    size_bytes: int = 0
    quantization: str = ""
    hidden_size: int = 0
    num_layers: int = 0
    problem: UserError | None = None
    dtype: str = ""

    @property
    def dense_bytes(self) -> int:
        """What its weights take in 16 bits each."""
        return 2 * self.parameters


def inspect_model(path: Path) -> ModelInfo:
    """Return what a model folder holds; never raises for a bad one, nor for one that may not be read."""
    try:
        return _read_model(path)
    except UserError as error:
        problem = error
    except OSError as error:  # another account's folder, a share that is gone
        problem = UserError("model_not_readable", folder=path.name, reason=str(error.strerror or error)[:200])
    return ModelInfo(path.name, path, problem=problem)


def _read_model(path: Path) -> ModelInfo:
    config = check_model_folder(path)
    headers = [read_safetensors_header(file) for file in weight_files(path)]
    text = config.get("text_config") or config
    quantization = config.get("quantization") or {}
    bits = quantization.get("bits")
    return ModelInfo(
        id=path.name, path=path, model_type=config["model_type"],
        parameters=sum(_count(name, entry, bits) for header in headers for name, entry in header.items()),
        size_bytes=sum(file.stat().st_size for file in weight_files(path)),
        quantization=f"{bits}-bit" if bits else "", hidden_size=int(text.get("hidden_size") or 0),
        num_layers=int(text.get("num_hidden_layers") or 0), dtype=_usual_dtype(headers),
    )  # fmt: skip


def _usual_dtype(headers: Sequence[Mapping[str, Any]]) -> str:
    """Return what most numbers are held in, by safetensors' name for it; empty for none."""
    counts: Counter[str] = Counter()
    for header in headers:
        for entry in header.values():
            counts[entry["dtype"]] += math.prod(entry["shape"])
    return counts.most_common(1)[0][0] if counts else ""


def _count(name: str, entry: dict[str, Any], bits: int | None) -> int:
    """Count parameters; packed integers of a quantised weight hold 32 / bits each, their scales and biases none."""
    size = int(math.prod(entry["shape"]))
    if bits and entry.get("dtype") == "U32":
        return size * 32 // bits
    return 0 if bits and name.rsplit(".", 1)[-1] in {"scales", "biases"} else size


def list_models(folders: Sequence[str]) -> list[ModelInfo]:
    """Return the models directly in the folders (a folder may be a model itself), by name; equal names keep their parent's.

    A folder that may not be looked into, such as `lost+found`, is none.
    """
    found: list[ModelInfo] = []
    for folder in (Path(name).expanduser() for name in folders):
        places = [folder] if _has_config(folder) else [place for place in _places_in(folder) if _has_config(place)]
        found += [inspect_model(place) for place in places]
    ids = [model.id for model in found]
    return [m if ids.count(m.id) == 1 else ModelInfo(**(vars(m) | {"id": f"{m.path.parent.name}/{m.id}"})) for m in found]


def _has_config(folder: Path) -> bool:
    try:
        return (folder / "config.json").exists()
    except OSError:
        return False


def _places_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("[!.]*")) if folder.is_dir() else []
    except OSError:
        return []
