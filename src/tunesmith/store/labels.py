"""What people say of a run or an adapter, in a small file of the pages beside it: its name, tags, a run's place in the queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.store.files import read_json, write_json

LABELS = "labels.json"
LONGEST_NAME = 200


def read_labels(folder: Path) -> dict[str, Any]:
    """Return what people say of a run or an adapter: `name`, `tags`, and of a run its place in the queue."""
    try:
        labels = read_json(folder / LABELS)
    except (FileNotFoundError, UserError):
        return {}
    return labels if isinstance(labels, dict) else {}


def change_labels(folder: Path, **changes: Any) -> None:
    """Write down what people say of a run or an adapter."""
    write_json(folder / LABELS, read_labels(folder) | changes)


def set_name(folder: Path, name: str) -> None:
    """Give a run or an adapter another name. Raises UserError `name_empty`, `name_too_long`."""
    name = " ".join(name.split())
    if not name:
        raise UserError("name_empty")
    if len(name) > LONGEST_NAME:
        raise UserError("name_too_long", longest=LONGEST_NAME)
    change_labels(folder, name=name)
