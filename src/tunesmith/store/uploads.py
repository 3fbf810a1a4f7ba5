"""Files that people uploaded lie aside, each upload in a folder of its own, until they are taken in. Knows no contents.

What a session left behind, as by a closed tab, goes as the trash does: after 7 days, unless somebody still works with it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tunesmith.store.files import make_folder, worded
from tunesmith.store.trash import drop, purge_older, thrown

FOLDERS = ("uploads", "incoming")  # the second is older versions'
LEFT_SECONDS = 86_400.0  # untouched for so long, no page looks at it any more


@contextmanager
def new_upload(data_dir: Path) -> Iterator[Path]:
    """Give an empty folder for an upload; it goes again when that is broken off. Raises UserError `disk_full`, `no_permission`."""
    folder = data_dir / FOLDERS[0] / secrets.token_hex(6)
    make_folder(folder)
    try:
        yield folder
    except BaseException:
        drop_upload(data_dir, folder)
        raise


def drop_upload(data_dir: Path, path: Path) -> None:
    """Delete the upload that a path lies in, nothing where it lies in none. Raises UserError `no_permission`."""
    homes = [data_dir / name for name in FOLDERS]
    for each in (path, *path.parents):
        if each.parent in homes and each.exists():
            with worded(each):
                drop(each)


def purge_uploads(data_dir: Path, is_used: Callable[[Path], bool]) -> None:
    """Delete what was left behind more than 7 days ago."""
    for folder in _rooms(data_dir):
        purge_older(folder, may_go=lambda path: not is_used(path))


def drop_left(data_dir: Path, is_used: Callable[[Path], bool]) -> None:
    """Delete what nobody has touched for a day. Raises UserError `no_permission`."""
    for folder in _rooms(data_dir):
        for path in thrown(folder):
            with suppress(FileNotFoundError):  # taken in just now
                if time.time() - _touched_at(path) > LEFT_SECONDS and not is_used(path):
                    with worded(path):
                        drop(path)


def _rooms(data_dir: Path) -> Iterator[Path]:
    return (data_dir / name for name in FOLDERS if (data_dir / name).is_dir())


def _touched_at(path: Path) -> float:
    """Return when anything in it was written last, in unix seconds."""
    return max(each.lstat().st_mtime for each in (path, *path.rglob("*")))
