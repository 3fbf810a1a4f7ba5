"""A lock that dies with its holder and outlives its parent."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

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
    deadline = time.monotonic() + 5
    while is_held(path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_held(path)
