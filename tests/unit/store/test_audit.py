"""The audit log: whole lines from many threads, bounded, the newest first."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from tunesmith.store import audit
from tunesmith.store.audit import AuditLog


def test_threads_take_turns_and_nothing_is_lost_at_a_change_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = len(orjson.dumps({"at": 1.0e9, "person": "person-1", "role": "trainer", "action": "a.b", "facts": {"n": "100"}}))
    monkeypatch.setattr(audit, "FULL_BYTES", 250 * line)  # of 400 lines, one change
    size = audit._size

    def look_slowly(path: Path) -> int:
        found = size(path)
        time.sleep(0.001)  # without turns, two would take the file for full
        return found

    monkeypatch.setattr(audit, "_size", look_slowly)

    def write(writer: int) -> None:
        for number in range(50):
            AuditLog(tmp_path).note(f"person-{writer}", "trainer", "a.b", {"n": str(100 + number)})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    content = [orjson.loads(each) for each in AuditLog(tmp_path).content().splitlines()]
    assert sorted((each["person"], each["facts"]["n"]) for each in content) == [
        (f"person-{w}", str(100 + n)) for w in range(8) for n in range(50)
    ]
    assert (tmp_path / "audit.1.jsonl").exists()
    assert AuditLog(tmp_path).last(400) == content[::-1]
    assert AuditLog(tmp_path).last(3) == content[:-4:-1]


def test_it_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "FULL_BYTES", 2000)
    for number in range(100):
        AuditLog(tmp_path).note("ann", "admin", "a.b", {"n": str(number)})
        assert sum(path.stat().st_size for path in tmp_path.glob("audit*.jsonl")) < 2 * 2000 + 200
    assert AuditLog(tmp_path).last(1)[0]["facts"] == {"n": "99"}


def test_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.note("ann", "admin", "a.b", {})
    with (tmp_path / "audit.jsonl").open("ab") as file:
        file.write(b'{"at": 1, "person": "to')
    log.note("tom", "admin", "a.b", {})
    assert [each["person"] for each in log.last(10)] == ["tom", "ann"]
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_only_the_end_of_a_long_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        AuditLog(tmp_path).note("ann", "admin", "a.b", {"n": str(number)})
    monkeypatch.setattr(audit, "_READ_BYTES", 1000)
    assert [each["facts"]["n"] for each in AuditLog(tmp_path).last(5)] == ["49", "48", "47", "46", "45"]


def test_there_is_nothing_before_anything_was_done(tmp_path: Path) -> None:
    assert (AuditLog(tmp_path).last(10), AuditLog(tmp_path).content()) == ([], b"")
