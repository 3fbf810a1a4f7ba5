"""Folders in the system's place for temporary files, named after their process, so that those of killed ones can be deleted."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

_NAME = re.compile(r"tunesmith-(\d+)-\w+")


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a new folder of this process, which is deleted when it is closed."""
    return tempfile.TemporaryDirectory(prefix=f"tunesmith-{os.getpid()}-")


def sweep_scratch(at_start: bool = False) -> None:
    """Delete this account's folders whose process is gone; `at_start` as in `was_left_by`."""
    for path in Path(tempfile.gettempdir()).glob("tunesmith-*"):
        named = _NAME.fullmatch(path.name)
        if named and was_left_by(int(named[1]), at_start) and path.lstat().st_uid == os.geteuid():
            shutil.rmtree(path, ignore_errors=True)


def was_left_by(pid: int, at_start: bool = False) -> bool:
    """Whether what bears this number was left by a process that is gone.

    `at_start` of our process nothing can be its own: what bears its number is of an earlier one, for in a container each has the same.
    """
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    except (ProcessLookupError, OverflowError):
        return True
    return at_start and pid == os.getpid()
