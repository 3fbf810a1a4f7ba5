"""A lock that dies with its holder and outlives its parent."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tunesmith.store import locks
from tunesmith.store.locks import ProcessLock, is_held


def test_only_one_holds_it(tmp_path: Path) -> None:
    first, second = ProcessLock(tmp_path / "a.lock"), ProcessLock(tmp_path / "a.lock")
    assert first.acquire()
    assert not second.acquire()
    assert is_held(tmp_path / "a.lock")
    first.release()
    assert not is_held(tmp_path / "a.lock")
    assert second.acquire()
    second.release()


def test_a_child_that_inherits_it_keeps_it_until_it_dies(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lock = ProcessLock(path)
    assert lock.acquire()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=(lock.descriptor(),)) as child:
        lock.release()
        assert is_held(path)
        child.kill()
    deadline = time.monotonic() + 30
    while is_held(path):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_those_who_look_at_the_same_time_do_not_take_each_other_for_holders(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.touch()
    together = Barrier(4)

    def look(_: int) -> int:
        together.wait()
        return sum(is_held(path) for _ in range(500))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(look, range(4))) == [0] * 4


def test_whoever_looks_does_not_keep_others_from_taking_it(tmp_path: Path) -> None:
    path, lock = tmp_path / "a.lock", ProcessLock(tmp_path / "a.lock")
    path.touch()
    with path.open() as looking, ThreadPoolExecutor(1) as pool:
        fcntl.flock(looking, fcntl.LOCK_SH)
        taken = pool.submit(lock.acquire)
        time.sleep(0.05)
        assert not taken.done()
        fcntl.flock(looking, fcntl.LOCK_UN)
        assert taken.result(timeout=30)
    lock.release()


def test_a_look_while_a_child_is_started_leaves_no_lock(tmp_path: Path) -> None:
    """Between its fork and its exec a child has a copy of every descriptor; the lock of a look must not live on in it."""
    path = tmp_path / "a.lock"
    path.touch()
    kept: list[int] = []
    opened = locks._open

    def open_and_copy(where: Path) -> int:
        descriptor = opened(where)
        kept.append(os.dup(descriptor))
        return descriptor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "_open", open_and_copy)
        assert not is_held(path)
    assert ProcessLock(path).acquire()
    os.close(kept[0])
