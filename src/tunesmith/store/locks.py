"""A lock that tells who is alive: it dies with the process that holds it, and a child can inherit it. Knows no runs."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunesmith.store.files import worded

_GLANCE_SECONDS, _GLANCES = 0.001, 2000  # those who only look at a lock go at once, unless their process is held up


class ProcessLock:
    """flock on a file that is never deleted or replaced.

    A child that is given the descriptor (`pass_fds`) holds the lock too, so it outlives a kill -9 of the parent.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> bool:
        """Take the lock if it is free; return whether it is ours now. Raises UserError `disk_full`, `no_permission`.

        Whoever only looks (`is_held`) is waited for: that is no holder.
        """
        if self._descriptor is not None:
            return True
        descriptor = _open(self._path)
        for _ in range(_GLANCES):
            if _take(descriptor, fcntl.LOCK_EX):
                self._descriptor = descriptor
                return True
            if not _take(descriptor, fcntl.LOCK_SH):
                break
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            time.sleep(_GLANCE_SECONDS)
        os.close(descriptor)
        return False

    def descriptor(self) -> int:
        """Return the descriptor for a child to inherit."""
        if self._descriptor is None:
            raise RuntimeError(f"the lock {self._path.name} is not held")
        return self._descriptor

    def release(self) -> None:
        """Close our copy; the lock itself stays with a child that inherited it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(path: Path) -> bool:
    """Return whether any process holds the lock; any number may look at once. Raises UserError `no_permission`."""
    if not path.exists():
        return False
    descriptor = _open(path)
    try:
        if not _take(descriptor, fcntl.LOCK_SH):
            return True
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing would not do: a child that another thread just starts has a copy
        return False
    finally:
        os.close(descriptor)


@contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Wait for the lock of a file that is never deleted or replaced, and hold it: threads and processes take turns.

    Raises UserError `disk_full`, `no_permission`.
    """
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> int:
    with worded(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
