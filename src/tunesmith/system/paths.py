"""Where things lie, and the only way in for a name that a person gave. Knows no store and no model."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from tunesmith.errors import UserError

LONGEST_FILE_NAME = 200  # bytes; file systems take 255, and a temporary name is longer than its file's
REPOSITORY = Path(__file__).resolve().parents[3]
DEMO_MODEL = REPOSITORY / "demo" / "model"
DEMO_DATA = REPOSITORY / "demo" / "data"
DEMO_TASKS = REPOSITORY / "demo" / "tasks"
CONFIG = REPOSITORY / "config"


def home_folder() -> Path:
    """Return the app's own folder: `TUNESMITH_DATA_DIR`, or the place that the system keeps for app data."""
    if chosen := os.environ.get("TUNESMITH_DATA_DIR"):
        return Path(chosen).expanduser().resolve()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Tunesmith"
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "tunesmith"


def as_file_name(words: str, otherwise: str) -> str:
    """Return a name for a file or folder made from a person's words; `otherwise` where nothing of them is left."""
    words = words.encode("utf-8", "ignore").decode()  # half characters are none
    return re.sub(r"[^\w-]+", "-", words, flags=re.UNICODE).strip("-_").lower()[:60] or otherwise


def bare_name(name: str, otherwise: str) -> str:
    """Return the last part of a file's name as somebody's computer gave it, fit to be a file's name here; its end is kept."""
    last = name.replace("\\", "/").rpartition("/")[2].encode("utf-8", "ignore").decode()
    visible = "".join(c for c in last if c.isprintable())
    return visible.encode()[-LONGEST_FILE_NAME:].decode("utf-8", "ignore").strip().lstrip(".") or otherwise


def resolve_under(root: Path, name: str) -> Path:
    """Return `root / name`, a direct child of root. Raises UserError `name_not_allowed` for anything that leads elsewhere."""
    allowed = name not in {"", ".", ".."} and not any(c in name for c in "/\\\0") and not name.startswith(".")
    if not allowed or not 0 < len(name.encode("utf-8", "ignore")) <= LONGEST_FILE_NAME or not name.isprintable():
        raise UserError("name_not_allowed", name=name[:100])
    path = root / name
    if path.resolve().parent != root.resolve():
        raise UserError("name_not_allowed", name=name)
    return path
