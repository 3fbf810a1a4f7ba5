"""Where secrets lie: files that only their owner can read, outside of the data folder. Knows nothing of what is in them."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from tunesmith.errors import UserError


def secrets_folder() -> Path:
    """Return where secrets are kept: `TUNESMITH_SECRETS_DIR`, or the place that the system keeps for settings."""
    if chosen := os.environ.get("TUNESMITH_SECRETS_DIR"):
        return Path(chosen).expanduser().resolve()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Preferences" / "Tunesmith"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tunesmith"


def is_there_in_private(path: Path) -> bool:
    """Return whether a file is there. Raises UserError `secrets_readable_by_others` where its mode lets anybody else in."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_IMODE(mode) & 0o077:
        raise UserError("secrets_readable_by_others", file=str(path))
    return True
