"""Refuses model folders that are hostile or broken, before anything is loaded. Reads headers and settings only; knows no mlx.

MLX's maintainers do not treat loader faults as security issues, so this file is the boundary. What the loaders would not read is left
alone: a pickle beside safetensors files, code that nothing names.
"""

from __future__ import annotations

import glob
import json
import math
import re
import stat
import struct
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from tunesmith.errors import UserError

LARGEST_CONFIG_BYTES = 2_000_000
LARGEST_HEADER_BYTES = 32_000_000  # a hundred thousand tensors take a third of it; the format itself allows 100 MB
LARGEST_SETTINGS_BYTES = 32_000_000
LARGEST_TOKENIZER_BYTES = 128_000_000  # the largest in use have 35 MB
LARGEST_TEMPLATE_BYTES = 1_000_000  # the largest in use have 30 kB
LARGEST_DIMENSION = 2**31 - 1  # of mlx's shapes
MOST_DIMENSIONS = 8
DEEPEST_CONFIG = 16

_LAYERS, _WIDTH, _HEADS, _EXPERTS = (0, 1000), (0, 131_072), (0, 4096), (0, 4096)
LIMITS = {
    "num_hidden_layers": _LAYERS, "num_layers": _LAYERS, "n_layer": _LAYERS, "n_layers": _LAYERS,
    "hidden_size": _WIDTH, "d_model": _WIDTH, "n_embd": _WIDTH, "intermediate_size": (0, 1_048_576), "ffn_dim": (0, 1_048_576),
    "moe_intermediate_size": (0, 1_048_576), "vocab_size": (0, 4_000_000), "head_dim": (0, 8192),
    "num_attention_heads": _HEADS, "num_key_value_heads": _HEADS, "n_head": _HEADS, "n_heads": _HEADS,
    "num_experts": _EXPERTS, "num_local_experts": _EXPERTS, "n_routed_experts": _EXPERTS, "num_experts_per_tok": _EXPERTS,
    "bits": (1, 64), "group_size": (-1, 65_536),  # of quantised weights; -1 is a whole row
}  # fmt: skip
PER_LAYER = {
    "intermediate_size",
    "moe_intermediate_size",
    "ffn_dim",
    "head_dim",
    "num_attention_heads",
    "num_key_value_heads",
    "num_experts",
}
CODE_KEYS = ("model_file", "auto_map")
QUANTIZATION_KEYS = ("quantization", "quantization_config")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
TEMPLATE_FOLDER = "additional_chat_templates"
INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth")
_SIZES = {
    "tokenizer*": LARGEST_TOKENIZER_BYTES, "tokenizer_config.json": LARGEST_SETTINGS_BYTES, "vocab.*": LARGEST_TOKENIZER_BYTES,
    "merges.txt": LARGEST_TOKENIZER_BYTES, "*.tiktoken": LARGEST_TOKENIZER_BYTES, "tekken.json": LARGEST_TOKENIZER_BYTES,
    "*.jinja": LARGEST_TEMPLATE_BYTES, f"{TEMPLATE_FOLDER}/*.jinja": LARGEST_TEMPLATE_BYTES, "chat_template.json": LARGEST_TEMPLATE_BYTES,
    "special_tokens_map.json": LARGEST_SETTINGS_BYTES, "added_tokens.json": LARGEST_SETTINGS_BYTES,
    "generation_config.json": LARGEST_CONFIG_BYTES, "hf_quant_config.json": LARGEST_CONFIG_BYTES, INDEX: LARGEST_SETTINGS_BYTES,
}  # fmt: skip
_RECORDS = ("special_tokens_map.json", "added_tokens.json", "generation_config.json", "tokenizer.json", "vocab.json")
_MODEL_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6,
    "F6_E3M2": 6, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


def check_model_folder(path: Path) -> dict[str, Any]:
    """Return config.json of a folder that may be loaded.

    Raises UserError `model_not_a_folder`, `model_path_is_pattern`, `model_file_not_plain`, `model_file_too_large`,
    `model_config_missing`, `model_config_broken`, `model_runs_code`, `model_config_unbounded`, `model_weights_missing`,
    `model_weights_pickled`, `model_weights_broken`, `model_index_broken`, `model_tokenizer_missing`, `model_tokenizer_broken`.
    """
    if not path.is_dir():
        raise UserError("model_not_a_folder", folder=str(path))
    if glob.has_magic(str(path)):
        raise UserError("model_path_is_pattern", folder=str(path))  # mlx-lm looks for weights by a pattern
    config = check_model_settings(path)
    files = weight_files(path)
    if not files:
        pickled = any(any(path.glob(pattern)) for pattern in _PICKLES)
        raise UserError("model_weights_pickled" if pickled else "model_weights_missing", folder=path.name)
    _check_index(path)
    for file in files:
        read_safetensors_header(file)
    return config


def check_model_settings(path: Path) -> dict[str, Any]:
    """Return config.json of a folder whose weights need not be there yet. Raises UserError `model_…`, as for all but its weights."""
    check_plain_files(path)
    _check_sizes(path)
    config = _read_config(path)
    _check_settings(path, config)
    _check_tokenizer(path)
    return config


def weight_files(path: Path) -> list[Path]:
    """Return the weight files of a model folder that are loaded."""
    return sorted(path.glob("model*.safetensors"))


def check_plain_files(path: Path) -> None:
    """Refuse a folder with links out of it, pipes or devices; links into a hub cache's own blobs are its way to hold files.

    Raises UserError `model_file_not_plain`.
    """
    root = path.resolve()
    homes = [root, root.parents[1] / "blobs"] if root.parent.name == "snapshots" and len(root.parents) > 1 else [root]
    for folder in (path, path / TEMPLATE_FOLDER):
        for entry in folder.iterdir() if folder.is_dir() else ():
            if not _is_plain(entry, homes):
                raise UserError("model_file_not_plain", folder=path.name, file=entry.name)


def _is_plain(entry: Path, homes: list[Path]) -> bool:
    try:
        if entry.is_symlink() and not any(entry.resolve().is_relative_to(home) for home in homes):
            return False
        mode = entry.stat().st_mode
    except (OSError, RuntimeError):  # a link to nothing, or in a circle
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def check_file_size(name: str, size_bytes: int, folder: str) -> None:
    """Refuse settings or a tokenizer larger than any in use, by name. Raises UserError `model_file_too_large`."""
    limits = [most for pattern, most in _SIZES.items() if fnmatchcase(name, pattern)]
    largest = LARGEST_CONFIG_BYTES if name == "config.json" else min(limits, default=size_bytes)
    if size_bytes > largest:
        raise UserError("model_file_too_large", folder=folder, file=name, largest_bytes=largest)


def _check_sizes(path: Path) -> None:
    for pattern, largest in _SIZES.items():
        for file in path.glob(pattern):
            if file.stat().st_size > largest:
                raise UserError("model_file_too_large", folder=path.name, file=file.name, largest_bytes=largest)


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        raise UserError("model_config_missing", folder=path.name)
    if file.stat().st_size > LARGEST_CONFIG_BYTES:
        raise UserError("model_config_broken", folder=path.name, reason="size")
    try:
        config = read_record(file)
    except ValueError as error:
        raise UserError("model_config_broken", folder=path.name, reason=str(error)[:200]) from error
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not _MODEL_TYPE.fullmatch(model_type):
        raise UserError("model_config_broken", folder=path.name, reason="model_type")
    for key in ("text_config", *QUANTIZATION_KEYS):
        if not isinstance(config.get(key) or {}, dict):
            raise UserError("model_config_broken", folder=path.name, reason=key)
    return config


def read_record(file: Path) -> dict[str, Any]:
    """Return a JSON file's object, read as the loaders read it (NaN and Infinity are numbers). Raises ValueError."""
    try:
        record = json.loads(file.read_bytes().decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nesting") from error
    if not isinstance(record, dict):
        raise ValueError(type(record).__name__)
    return record


def _check_settings(path: Path, config: Mapping[str, Any]) -> None:
    _check_values(path, "", config, 0)
    file = path / "hf_quant_config.json"
    if file.is_file():
        try:
            _check_values(path, f"{file.name}: ", read_record(file), 0)
        except ValueError as error:
            raise UserError("model_config_broken", folder=path.name, reason=f"{file.name}: {error}"[:200]) from error


def _check_values(path: Path, place: str, value: Any, level: int) -> None:
    if level > DEEPEST_CONFIG:
        raise UserError("model_config_broken", folder=path.name, reason="nesting")
    if isinstance(value, list):
        for inner in value:
            _check_values(path, place, inner, level + 1)
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        if key in CODE_KEYS and inner is not None:
            raise UserError("model_runs_code", folder=path.name, key=f"{place}{key}")
        if key in LIMITS:
            _check_bound(path, f"{place}{key}", inner, LIMITS[key])
        if isinstance(inner, Mapping | list):
            _check_values(path, f"{place}{key}.", inner, level + 1)


def _check_bound(path: Path, key: str, value: Any, limits: tuple[int, int]) -> None:
    """Refuse what is neither left out nor a whole number within the limits, nor, where layers may differ, a list of such."""
    values = value if isinstance(value, list) and key.rpartition(".")[2] in PER_LAYER else [value]
    for number in values:
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or not limits[0] <= number <= limits[1]):
            raise UserError("model_config_unbounded", folder=path.name, key=key, value=str(number)[:50], largest=limits[1])


def _check_index(path: Path) -> None:
    """Refuse an index of shards that names files elsewhere, or of which some are missing; one of no file that is there is not read."""
    file = path / INDEX
    if not file.is_file():
        return
    try:
        places = read_record(file)["weight_map"]
        names = {str(name) for name in places.values()}
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError("model_index_broken", folder=path.name, file=INDEX) from error
    missing = sorted(name for name in names if not (path / name).is_file())
    strange = sorted(name for name in names if Path(name).name != name or "\\" in name)
    if strange or (missing and len(missing) < len(names)):
        raise UserError("model_index_broken", folder=path.name, file=(strange or missing)[0][:200])


def _check_tokenizer(path: Path) -> None:
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise UserError("model_tokenizer_missing", folder=path.name)
    for name in _RECORDS:
        if (path / name).is_file():
            try:
                msgspec.json.decode((path / name).read_bytes(), type=dict[str, msgspec.Raw])  # looks at all of it, keeps nothing
            except (ValueError, RecursionError) as error:
                raise UserError("model_tokenizer_broken", folder=path.name, file=name, reason=str(error)[:100]) from error
    for name in ("tokenizer_config.json", "chat_template.json"):
        if (path / name).is_file():
            try:
                _check_tokenizer_settings(path, name, read_record(path / name))
            except ValueError as error:
                raise UserError("model_tokenizer_broken", folder=path.name, file=name, reason=str(error)[:100]) from error


def _check_tokenizer_settings(path: Path, name: str, settings: Mapping[str, Any]) -> None:
    if settings.get("auto_map") is not None:
        raise UserError("model_runs_code", folder=path.name, key=f"{name}: auto_map")
    if settings.get("init_inputs"):
        raise ValueError("init_inputs")
    versions = settings.get("fast_tokenizer_files") or []
    if not isinstance(versions, list) or any(not isinstance(v, str) or Path(v).name != v for v in versions):
        raise ValueError("fast_tokenizer_files")
    if _template_length(settings.get("chat_template")) > LARGEST_TEMPLATE_BYTES:
        raise UserError("model_file_too_large", folder=path.name, file=f"{name}: chat_template", largest_bytes=LARGEST_TEMPLATE_BYTES)


def _template_length(template: Any) -> int:
    """Return the characters of a prompt format: text, or several of them by name."""
    if template is None:
        return 0
    if isinstance(template, str):
        return len(template)
    entries = list(template.values()) if isinstance(template, dict) else template
    if not isinstance(entries, list):
        raise ValueError("chat_template")
    texts: list[Any] = [entry.get("template") if isinstance(entry, dict) else entry for entry in entries]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("chat_template")
    return sum(len(text) for text in texts)


def read_safetensors_header(file: Path) -> dict[str, Any]:
    """Return the tensors {name: {dtype, shape, data_offsets}} of a safetensors file, all that the format demands checked.

    https://huggingface.co/docs/safetensors: the tensors lie one behind the other and fill the file, each as large as its shape and dtype
    say. Raises UserError `model_weights_broken`.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(LARGEST_HEADER_BYTES, size - 8):
                raise ValueError("header length")
            header = _parse_header(stream.read(length))
        _check_metadata(header.pop("__metadata__", None) or {})  # mlx writes null where it has none
        _check_layout(header, size - 8 - length)
    except (struct.error, ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise UserError("model_weights_broken", folder=file.parent.name, file=file.name, reason=str(error)[:100]) from error
    return header


def _parse_header(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise ValueError("header")
    header = json.loads(text.decode("utf-8"), object_pairs_hook=_without_duplicates)
    if not isinstance(header, dict):
        raise ValueError("header")
    return header


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("duplicate names")
    return found


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("metadata")


def _check_layout(tensors: Mapping[str, Any], size: int) -> None:
    end = 0
    for name, entry in sorted(tensors.items(), key=lambda item: _offsets(*item)):
        begin, after = _offsets(name, entry)
        dtype, shape = entry["dtype"], entry["shape"]
        if not isinstance(dtype, str) or dtype not in _BITS:
            raise ValueError(f"{name}: dtype {dtype}")
        if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS or not all(_is_count(each, LARGEST_DIMENSION) for each in shape):
            raise ValueError(f"{name}: shape {shape}")
        if begin != end or after < begin:
            raise ValueError(f"{name}: offsets")
        if math.prod(shape) * _BITS[dtype] != (after - begin) * 8:
            raise ValueError(f"{name}: size")
        end = after
    if end != size:
        raise ValueError("file size")


def _offsets(name: str, entry: Any) -> tuple[int, int]:
    if not isinstance(entry, dict):
        raise ValueError(name)
    offsets = entry["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(each, 2**63) for each in offsets):
        raise ValueError(f"{name}: offsets")
    return offsets[0], offsets[1]


def _is_count(value: Any, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest
