"""A job's folder as others see it: while it is started, while it waits, in the moment of its end. And what a dry run holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tunesmith.jobs import job as jobs
from tunesmith.jobs import job_worker
from tunesmith.jobs.job import END, LOCK, REQUEST, JobFolders, launch, read_job, read_status
from tunesmith.jobs.job_worker import Reporter
from tunesmith.store.files import read_json, write_json
from tunesmith.store.locks import is_held


def test_nobody_sees_a_new_job_without_its_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another tab that looked in that moment would say that the job broke off, and would not look again."""
    folders, seen = JobFolders(tmp_path), []
    put_in_place = jobs.put_in_place

    def look(staged: Path, target: Path) -> None:
        put_in_place(staged, target)
        seen.extend(read_job(folder).status for folder in folders.all())

    monkeypatch.setattr(jobs, "put_in_place", look)
    job_id = folders.start({"kind": "fuse"}, "tests.no_such_worker")
    assert seen == ["running"]
    folder = folders.folder(job_id)
    deadline = time.monotonic() + 60
    while is_held(folder / LOCK):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert read_job(folder).status == "stopped"
    assert "no_such_worker" in (folder / jobs.LOG).read_text()


def test_a_job_that_ends_between_two_looks_has_not_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = JobFolders(tmp_path)
    folder = folders.folder(folders.create({"kind": "fuse"}))

    def ends_now(_: Path) -> bool:
        write_json(folder / END, {"status": "completed", "result": {}})
        return False

    monkeypatch.setattr(jobs, "is_held", ends_now)
    assert read_status(folder)[0] == "completed"


def test_what_a_killed_worker_was_writing_goes_when_its_job_goes_on(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    folders = JobFolders(tmp_path)
    folder = folders.folder(folders.create({"kind": "fuse"}))
    half = folder / f".progress.json.{dead.pid}.0123abcd.tmp"
    half.write_bytes(b"{")
    launch(folder, "tests.no_such_worker")
    assert not half.exists()
    assert (folder / REQUEST).exists()


def test_a_job_that_waits_for_hours_writes_nothing_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders, now, written = JobFolders(tmp_path), [1000.0], []
    folder = folders.folder(folders.create({"kind": "fuse"}))
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(job_worker, "write_json", lambda path, told: written.append(told["phase"]) or write_json(path, told))
    report = Reporter(folder)
    for phase, share in (("waiting", 0.0), ("waiting", 0.0), ("fusing", 0.0), ("fusing", 0.5), ("fusing", 0.5)):
        report(phase, share)
        now[0] += 1.0
    assert written == ["waiting", "fusing", "fusing", "fusing"]
    assert read_json(folder / jobs.PROGRESS)["seconds"] == 2.0  # a pace falls while nothing comes


MEASURING = """
import sys
from pathlib import Path
from tunesmith.jobs import measure
room = Path(sys.argv[1])
measure.sys.executable = str(room / "slow")  # in the interpreter's place
measure.measure("", room, room, room / "slot.lock", {})
"""


def test_a_dry_run_keeps_the_accelerator_when_its_server_dies(tmp_path: Path) -> None:
    (tmp_path / "slow").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid\nexec sleep 60\n")
    (tmp_path / "slow").chmod(0o755)
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    deadline = time.monotonic() + 60
    with subprocess.Popen([sys.executable, "-c", MEASURING, str(tmp_path)], env=environment) as server:
        while not (tmp_path / "pid").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        server.kill()
    child = int((tmp_path / "pid").read_text())
    assert is_held(tmp_path / "slot.lock")
    os.kill(child, signal.SIGKILL)
    while is_held(tmp_path / "slot.lock"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
