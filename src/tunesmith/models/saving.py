"""Writes a whole model folder: shards as they are computed, config, tokenizer, card; complete or not there. Knows no fusion.

What a folder holds beside the weights is carried over from the folder that the model came from, code never.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import orjson

from tunesmith.errors import UserError
from tunesmith.models.folder_layout import CARRIED, MANIFEST
from tunesmith.models.model_config import normalise_config
from tunesmith.store.saved_folders import whole_folder
from tunesmith.system.progress import Progress, silent

SHARD_BYTES = 2 << 30


def save_model_folder(
    target: Path, source: Path, config: Mapping[str, Any], weights: Iterable[tuple[str, mx.array]], card: str, manifest: Mapping[str, Any],
    report: Progress = silent, total: int = 0, template: str | None = None,
) -> None:  # fmt: skip
    """Write `weights` (computed as they are written, at most a shard of them in memory) and all else that a model folder holds.

    `total` is the number of tensors, for `report`; `template` a prompt format in place of the source's. Raises UserError `disk_full`,
    `target_exists`; then there is nothing.
    """
    with whole_folder(target) as aside:
        _write_shards(aside, weights, report, total)
        carry_tokenizer(source, aside, template)
        _write_json(aside / "config.json", normalise_config(config))
        (aside / "README.md").write_text(card, encoding="utf-8")
        _write_json(aside / MANIFEST, manifest)  # last: with it the folder is complete


def _write_shards(folder: Path, weights: Iterable[tuple[str, mx.array]], report: Progress, total: int) -> None:
    shards: list[dict[str, Any]] = []
    held: dict[str, mx.array] = {}
    size = 0

    def flush() -> None:
        nonlocal size
        name = f"shard-{len(shards)}.safetensors"
        try:
            mx.save_safetensors(str(folder / name), held, metadata={"format": "mlx"})
        except RuntimeError as error:  # mlx's own words for a full disk
            raise UserError("disk_full", folder=str(folder.parent)) from error
        shards.append({"file": name, "names": list(held), "bytes": size})
        held.clear()
        size = 0
        mx.clear_cache()

    for count, (name, array) in enumerate(weights, start=1):
        mx.eval(array)
        held[name] = array
        size += array.nbytes
        report(count / total if total else 0.0)
        if size >= SHARD_BYTES:
            flush()
    if held:
        flush()
    _name_shards(folder, shards)


def _name_shards(folder: Path, shards: list[dict[str, Any]]) -> None:
    """Give the shards their usual names, which tell how many there are, and write the index."""
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        (folder / shard["file"]).rename(folder / name)
        places |= dict.fromkeys(shard["names"], name)
    if len(shards) > 1:
        total = sum(shard["bytes"] for shard in shards)
        _write_json(
            folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        )


def carry_tokenizer(source: Path, target: Path, template: str | None = None) -> None:
    """Copy the tokenizer's files and generation settings of a model folder; `template` replaces its prompt format."""
    for name in CARRIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if template:
        (target / "chat_template.jinja").write_text(template, encoding="utf-8")
        settings = target / "tokenizer_config.json"
        if settings.exists():
            kept = {name: value for name, value in orjson.loads(settings.read_bytes()).items() if name != "chat_template"}
            _write_json(settings, kept)


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    path.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))
