"""What people throw away lies in a hidden folder for a while and can come back. Knows files and folders, not what they are."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.store.files import LARGEST_RECORD_BYTES, move, read_json, worded, write_json
from tunesmith.store.saved_folders import drop_whole

TRASH_DAYS = 7
_NOTICES = ".overdue.json"
NOTICE_SECONDS = 86_400.0


def throw_away(source: Path, trash: Path) -> None:
    """Move a file or folder into the trash, in place of an older one of its name. Raises UserError `file_not_writable`, …"""
    target = trash / source.name
    with worded(target):
        drop(target)
        os.utime(source)  # first: one that was moved with its old time would be purged at once
        move(source, target)


def bring_back(source: Path, target: Path) -> None:
    """Move something back out of the trash. Raises UserError `target_exists`."""
    if target.exists():
        raise UserError("target_exists", name=target.name, folder=str(target.parent))
    with worded(target):
        move(source, target)


def thrown(trash: Path) -> list[Path]:
    """Return what lies in the trash."""
    return [path for path in trash.iterdir() if not path.name.startswith(".")]


def owner_in(path: Path, *inside: str, most_bytes: int = LARGEST_RECORD_BYTES) -> str:
    """Return the owner that a record names (in a part of it), nothing where it is absent, broken or names none."""
    try:
        record = read_json(path, most_bytes)
        for key in (*inside, "owner"):
            record = record.get(key, {})
    except (OSError, UserError, AttributeError):
        return ""
    return record if isinstance(record, str) else ""


def purge_older(trash: Path, days: float = TRASH_DAYS, may_go: Callable[[Path], bool] = lambda _: True) -> None:
    """Delete what has lain in the trash for more than so many days, was found so a day ago too, and may go.

    No clock that is right knows how long a computer was off, and one that jumps ahead (a flat battery, a wrong year) makes everything old
    at once. So the first time only a notice is written; it is dropped when the clock goes back. What is thrown away comes back at least
    until the next start of the app on another day.
    """
    now = time.time()
    known = _read_notices(trash)
    notices: dict[str, float] = {}
    for path in thrown(trash):
        if now - path.lstat().st_mtime <= days * 86_400 or not may_go(path):
            continue
        noticed = known.get(path.name, now)
        if now - noticed >= NOTICE_SECONDS:
            with suppress(OSError):  # the app opens whatever the trash is like
                drop(path)
        else:
            notices[path.name] = min(noticed, now)
    if notices != known:
        with suppress(UserError):
            write_json(trash / _NOTICES, notices)


def empty(trash: Path, may_go: Callable[[Path], bool] | None = None) -> None:
    """Delete everything in the trash, or what may go."""
    for path in thrown(trash):
        if may_go is None or may_go(path):
            drop(path)


def drop(path: Path) -> None:
    """Delete a file or folder as a whole. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        drop_whole(path)
    else:
        path.unlink(missing_ok=True)


def _read_notices(trash: Path) -> dict[str, float]:
    try:
        notices = read_json(trash / _NOTICES)
    except (OSError, UserError):
        return {}
    return {name: float(at) for name, at in notices.items() if isinstance(at, int | float)} if isinstance(notices, dict) else {}
