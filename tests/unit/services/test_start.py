"""What an earlier server and its killed workers left half done is gone after a start, wherever they wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.services.context import build_services, settings_file


def test_a_start_deletes_what_killed_processes_left(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exports = tmp_path / "exports elsewhere"
    exports.mkdir()
    build_services().close()
    settings_file().write_text(f"exports_folder: {exports}\n")
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    (data_dir / "models").mkdir(exist_ok=True)
    scratch = tmp_path / "temporary"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    left = [
        data_dir / "models" / f".quantised.{dead.pid}.new", data_dir / "experiments" / f".new-{dead.pid}-abcd",
        data_dir / "jobs" / f".new-{os.getpid()}-abcd", exports / f".model.gguf.{dead.pid}.new", exports / f".new-{dead.pid}-efgh",
        scratch / f"tunesmith-{dead.pid}-ijkl",
    ]  # fmt: skip
    kept = [data_dir / "models" / "mine", exports / ".hidden", exports / f".other.{os.getppid()}.new", scratch / "tunesmith-else"]
    for folder in (*left, *kept):
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"x")
    build_services().close()
    assert [path.name for path in left if path.exists()] == []
    assert [path.name for path in kept if not path.exists()] == []
