"""Files that survive kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tunesmith.errors import UserError
from tunesmith.store.files import AppendLog, LineTail, read_json, sha256_of, sweep_leftovers, write_atomic, write_json


def test_write_atomic_replaces_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    write_atomic(target, b"old")
    write_atomic(target, b"new")
    assert target.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_write_atomic_keeps_the_old_file_when_the_disk_is_full(tmp_path: Path) -> None:
    """A child whose files may not exceed 1,000 bytes writes 5,000: the error has a code, the old state stays."""
    target = tmp_path / "state.json"
    write_json(target, {"good": True})
    code = """
import resource, signal, sys, pathlib
from tunesmith.errors import UserError
from tunesmith.store.files import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.dont_write_bytecode = True
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomic(pathlib.Path(sys.argv[1]), b"x" * 5000)
except UserError as error:
    sys.exit(7 if error.code == "disk_full" else 8)
"""
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == 7
    assert read_json(target) == {"good": True}
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_read_json_names_the_broken_file(tmp_path: Path) -> None:
    (tmp_path / "experiment.json").write_text('{"a": ')
    with pytest.raises(UserError) as caught:
        read_json(tmp_path / "experiment.json")
    assert caught.value.code == "store_file_unreadable"
    assert caught.value.facts["file"] == "experiment.json"


def test_sha256_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_tail_takes_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = LineTail(path)
    assert list(tail.read_new()) == []
    path.write_bytes(b'{"step":1}\n{"step":')
    assert list(tail.read_new()) == [{"step": 1}]
    with path.open("ab") as stream:
        stream.write(b"2}\n")
    assert list(tail.read_new()) == [{"step": 2}]
    assert list(tail.read_new()) == []


def test_tail_counts_bad_lines_and_reads_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step":1}\n{"st\n[1]\n{"step":2}\n')
    tail = LineTail(path)
    assert [r["step"] for r in tail.read_new()] == [1, 2]
    assert tail.bad_lines == 2


def test_append_closes_a_torn_line_first(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step":1}\n{"step":2,"tr')
    log = AppendLog(path)
    log.append({"step": 3})
    log.close()
    tail = LineTail(path)
    assert [r["step"] for r in tail.read_new()] == [1, 3]
    assert tail.bad_lines == 1


def test_a_killed_writer_loses_at_most_its_last_line(tmp_path: Path) -> None:
    """20 real kills at random moments of one writer that appends without pause: every whole line stays readable, in order."""
    path = tmp_path / "metrics.jsonl"
    code = """
import sys, pathlib
from tunesmith.store.files import AppendLog
path = pathlib.Path(sys.argv[1])
log, n = AppendLog(path), int(sys.argv[2])
print("up", flush=True)
while True:
    log.append({"step": n, "pad": "x" * 2000}); n += 1
"""
    start = 0
    for round_number in range(20):
        with subprocess.Popen([sys.executable, "-c", code, str(path), str(start)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.002 * (round_number % 7))
            os.kill(writer.pid, signal.SIGKILL)
        tail = LineTail(path)
        steps = [r["step"] for r in tail.read_new()]
        assert steps == sorted(set(steps))
        assert tail.bad_lines <= round_number + 1
        start = steps[-1] + 1 if steps else 0
    assert start > 20


def test_what_dead_processes_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as alive:
        gone = [f".new-{dead.pid}-abcd", f".old.{dead.pid}.gone", f".new-{os.getpid()}-mine"]
        own = f".own.json.{os.getpid()}.0123abcd.tmp"
        (tmp_path / own).write_text("being written")
        kept = [f".new-{alive.pid}-abcd", f".other.{alive.pid}.gone", "named", ".trash", ".new-x", ".hidden.1.tmp"]
        for name in (*gone, *kept):
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").write_text("x")
        (tmp_path / f".a.json.{dead.pid}.0123abcd.tmp").write_text("half")
        (tmp_path / f".b.json.{alive.pid}.0123abcd.tmp").write_text("half")
        sweep_leftovers(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {*kept, gone[-1], own, f".b.json.{alive.pid}.0123abcd.tmp"}
        sweep_leftovers(tmp_path, at_start=True)
        alive.kill()
    assert {path.name for path in tmp_path.iterdir()} == {*kept, f".b.json.{alive.pid}.0123abcd.tmp"}


def test_only_files_of_a_records_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "large.json").touch()
    os.truncate(tmp_path / "large.json", 70_000_000)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    for name in ("large", "pipe", "folder"):
        with pytest.raises(UserError, match="store_file_unreadable"):
            read_json(tmp_path / f"{name}.json")
