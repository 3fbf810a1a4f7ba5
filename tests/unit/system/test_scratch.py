"""Folders for temporary files bear their process's number; those of processes that are gone are deleted."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tunesmith.system.scratch import scratch_folder, sweep_scratch

PARENT = """
import pathlib, sys
from tunesmith.training.rewards.custom import RewardFile
file = RewardFile(pathlib.Path(sys.argv[1]))
file.functions()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_what_a_killed_process_left_is_deleted_and_nothing_else(place: Path, tmp_path: Path) -> None:
    """The process has a reward file open, as a worker that trains by one."""
    (tmp_path / "mine.py").write_text("def fine(completions): return [1.0]\n")
    command = [sys.executable, "-c", PARENT, str(tmp_path / "mine.py")]
    environment = os.environ | {"TMPDIR": str(place)}
    (place / "tunesmith-notes").mkdir()
    (place / "tunesmith-1-of-somebody.txt").write_text("")
    with scratch_folder() as own, subprocess.Popen(command, stdin=-1, stdout=-1, env=environment) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"ready\n"
        (left,) = place.glob(f"tunesmith-{parent.pid}-*")
        sweep_scratch()
        assert left.is_dir()
        parent.kill()
        parent.wait()
        assert left.is_dir()
        sweep_scratch()
        assert sorted(path.name for path in place.iterdir()) == sorted([Path(own).name, "tunesmith-notes", "tunesmith-1-of-somebody.txt"])


def test_at_a_start_what_bears_our_own_number_is_an_earlier_process_s(place: Path) -> None:
    left = place / f"tunesmith-{os.getpid()}-abcdefgh"
    left.mkdir()
    sweep_scratch()
    assert left.is_dir()
    sweep_scratch(at_start=True)
    assert not left.exists()
