"""Finds the adapter in what a person brought: a folder, or a zip file of one. Knows no tensors.

What is taken is one adapter_config.json and the safetensors file beside it; nothing else of an archive is written anywhere.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tunesmith.data.readers.archives import check_plausible, checked_entries, open_entry, printable
from tunesmith.errors import UserError
from tunesmith.export.peft_import import PEFT_WEIGHTS
from tunesmith.models.adapter_files import CONFIG, WEIGHTS
from tunesmith.models.safety import LARGEST_CONFIG_BYTES, check_plain_files
from tunesmith.store.files import as_user_error
from tunesmith.system.paths import as_file_name

KINDS = {WEIGHTS: "mlx", PEFT_WEIGHTS: "peft"}
PICKLES = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth")
MOST_BYTES = 32_000_000_000  # rank 256 on a model of 70 billion parameters takes 13 GB in float32
DEEPEST = 3
MOST_FOLDERS = 1000


@dataclass(frozen=True)
class AdapterFiles:
    """The folder that holds an adapter, and whose format it has: `mlx` (mlx-lm's) or `peft`."""

    folder: Path
    kind: str


def find_adapter_files(path: Path, into: Path) -> AdapterFiles:
    """Return the one adapter that a folder or a zip file holds, at most three folders deep; a zip's files are written under `into`.

    Raises UserError `file_missing`, `adapter_files_missing`, `adapter_files_several`, `adapter_pickled`, `archive_…`,
    `archive_ratio_not_plausible`, `data_file_broken`, `data_too_large`, `model_file_not_plain`, `disk_full`.
    """
    if path.is_dir():
        places = {PurePosixPath(folder.relative_to(path)): _names(folder) for folder in _folders(path)}
        place, weights = _choose(path, places)
        check_plain_files(path / place)
        return AdapterFiles(path / place, KINDS[weights])
    if not path.is_file():
        raise UserError("file_missing", file=str(path))
    if not zipfile.is_zipfile(path):
        raise UserError("adapter_files_missing", file=path.name)
    return _unpack(path, into / as_file_name(path.stem, "adapter"))


def _folders(path: Path) -> Iterator[Path]:
    for count, (folder, inner, _) in enumerate(os.walk(path)):
        if count == MOST_FOLDERS:
            return
        yield Path(folder)
        if len(Path(folder).relative_to(path).parts) >= DEEPEST:
            inner.clear()


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if entry.is_file()}


def _choose(path: Path, places: dict[PurePosixPath, set[str]]) -> tuple[PurePosixPath, str]:
    """Return the folder nearest to the top that holds an adapter, and the name of its weights."""
    found = [(place, name) for place, names in places.items() for name in KINDS if name in names and CONFIG in names]
    if not found:
        for place, names in places.items():
            if pickled := sorted(names & set(PICKLES)):
                raise UserError("adapter_pickled", file=path.name, entry=str(place / pickled[0]))
        raise UserError("adapter_files_missing", file=path.name)
    top = min(len(place.parts) for place, _ in found)
    nearest = sorted((place, name) for place, name in found if len(place.parts) == top)
    if len(nearest) > 1:
        raise UserError(
            "adapter_files_several", file=path.name, places=", ".join(printable(str(place / name)) for place, name in nearest[:5])
        )
    return nearest[0]


def _unpack(path: Path, target: Path) -> AdapterFiles:
    try:
        entries = {PurePosixPath(entry.filename): entry for entry in checked_entries(path, MOST_BYTES)}
    except UserError as error:
        raise UserError("adapter_files_missing", file=path.name) if error.code == "data_file_empty" else error from None
    places: dict[PurePosixPath, set[str]] = {}
    for entry in entries:
        if len(entry.parts) <= DEEPEST + 1:
            places.setdefault(entry.parent, set()).add(entry.name)
    place, weights = _choose(path, places)
    for name in (CONFIG, weights):
        if entries[place / name].file_size > (most := LARGEST_CONFIG_BYTES if name == CONFIG else MOST_BYTES):
            raise UserError("data_too_large", file=path.name, most_bytes=most)
        check_plausible(path, entries[place / name])
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in (CONFIG, weights):
            with open_entry(path, entries[place / name]) as stream, (target / name).open("wb") as file:
                while chunk := stream.read():
                    file.write(chunk)
    except OSError as error:
        raise as_user_error(error, target) from error
    return AdapterFiles(target, KINDS[weights])
