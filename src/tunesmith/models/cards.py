"""Model cards: what a made model is and where it comes from. Knows no weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_HEAD_CHARACTERS = 20_000


def model_card(name: str, lineage: Mapping[str, Any]) -> str:
    """Return a README.md in the model hub's form; `lineage` is what is known of the model's making, by name."""
    head = {"base_model": lineage.get("model"), "library_name": "mlx", "tags": ["mlx", "fine-tuned"]}
    rows = "\n".join(f"| {key.replace('_', ' ')} | {_show(value)} |" for key, value in lineage.items() if value not in (None, "", [], {}))
    front = yaml.safe_dump({key: value for key, value in head.items() if value}, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n# {name}\n\nMade with Tunesmith.\n\n| | |\n|---|---|\n{rows}\n"


def card_licence(folder: Path) -> str:
    """Return the licence that a model folder's README.md names at its head, empty where it names none."""
    try:
        with (folder / "README.md").open(encoding="utf-8") as stream:
            text = stream.read(_HEAD_CHARACTERS)
    except (OSError, UnicodeDecodeError):
        return ""
    front = text.removeprefix("---\n").partition("\n---")
    if not text.startswith("---\n") or not front[1]:
        return ""
    try:
        head = yaml.safe_load(front[0])
    except (yaml.YAMLError, RecursionError, ValueError):
        return ""
    licence = head.get("license") if isinstance(head, dict) else None
    return licence[:80] if isinstance(licence, str) else ""


def _show(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_show(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_show(each) for each in value)
    return str(value).replace("|", "\\|").replace("\n", " ")
