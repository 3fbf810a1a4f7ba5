"""What people say of a run or an adapter, in a small file of the pages beside it: name, tags, notes, star, group, place in the queue."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.store.files import read_json, write_json

LABELS = "labels.json"
LONGEST_NAME, LONGEST_TAG, MOST_TAGS, LONGEST_NOTES = 200, 40, 20, 20_000
_turn = threading.RLock()  # a change is a reading and a writing: two people's must not cross


def read_labels(folder: Path) -> dict[str, Any]:
    """Return what people say of a run or an adapter, nothing where nobody said anything that can be read."""
    try:
        labels = read_json(folder / LABELS)
    except (OSError, UserError):
        return {}
    return labels if isinstance(labels, dict) else {}


def change_labels(folder: Path, **changes: Any) -> None:
    """Write down what people say of a run or an adapter."""
    with _turn:
        write_json(folder / LABELS, read_labels(folder) | changes)


def tags_in(labels: dict[str, Any]) -> tuple[str, ...]:
    """Return the tags among labels."""
    tags = labels.get("tags")
    return tuple(str(tag) for tag in tags) if isinstance(tags, list) else ()


def set_name(folder: Path, name: str) -> None:
    """Give a run or an adapter another name. Raises UserError `name_empty`, `name_too_long`."""
    name = in_one_line(name)
    if not name:
        raise UserError("name_empty")
    change_labels(folder, name=name)


def set_tags(folder: Path, tags: Iterable[str]) -> None:
    """Replace the tags of a run or an adapter. Raises UserError `tags_too_many`."""
    kept = list(dict.fromkeys(" ".join(tag.split())[:LONGEST_TAG] for tag in tags if tag.strip()))
    if len(kept) > MOST_TAGS:
        raise UserError("tags_too_many", most=MOST_TAGS)
    change_labels(folder, tags=kept)


def change_tags(folder: Path, add: Iterable[str], remove: Iterable[str]) -> None:
    """Add tags and take others away; those that somebody else gave meanwhile stay. Raises UserError `tags_too_many`."""
    gone = set(remove)
    with _turn:
        set_tags(folder, [*(tag for tag in tags_in(read_labels(folder)) if tag not in gone), *add])


def set_group(folder: Path, group: str) -> None:
    """Put a run in a group, or with an empty name in none. Raises UserError `name_too_long`."""
    change_labels(folder, group=in_one_line(group))


def set_notes(folder: Path, notes: str) -> None:
    """Keep notes in Markdown. Raises UserError `notes_too_long`."""
    if len(notes) > LONGEST_NOTES:
        raise UserError("notes_too_long", longest=LONGEST_NOTES)
    change_labels(folder, notes=notes.strip())


def in_one_line(name: str) -> str:
    """Return a name with its white space as single spaces. Raises UserError `name_too_long`."""
    name = " ".join(name.split())
    if len(name) > LONGEST_NAME:
        raise UserError("name_too_long", longest=LONGEST_NAME)
    return name
