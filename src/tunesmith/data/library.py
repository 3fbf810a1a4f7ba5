"""Which file of a data set holds which split (mlx-lm's folder layout, or a single file), and what people call the set."""

from __future__ import annotations

from pathlib import Path

SPLITS = ("train", "valid", "test")


def find_splits(path: Path) -> dict[str, Path]:
    """Return the files by split: `train.jsonl`, `valid.jsonl`, `test.jsonl` of a folder; a file alone is `train`."""
    if path.is_file():
        return {"train": path}
    return {name: path / f"{name}.jsonl" for name in SPLITS if (path / f"{name}.jsonl").is_file()}


def name_of(path: Path) -> str:
    """Return what people call a data set: its id and version, `name@2`, where the store keeps it, else the file's or folder's name."""
    stored = (path / "version.json").is_file() and path.name.removeprefix("v").isdecimal()
    return f"{path.parent.name}@{path.name.removeprefix('v')}" if stored else path.name
