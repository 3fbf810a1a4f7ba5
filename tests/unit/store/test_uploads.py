"""Uploads that were left behind: swept as the trash is, never while a job works with them, never by a clock that jumped."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest

from tests.idle_services import idle_services
from tunesmith.jobs.job import EVALUATIONS, JOBS, LOCK, JobFolders, used_by_jobs
from tunesmith.services import datasets
from tunesmith.store import trash
from tunesmith.store.locks import ProcessLock
from tunesmith.store.uploads import FOLDERS, drop_left, drop_upload, new_upload, purge_uploads

DAY = 86_400.0


def upload(data_dir: Path, days_old: float = 0.0) -> Path:
    with new_upload(data_dir) as folder:
        (folder / "rows.jsonl").write_bytes(b"{}\n")
    age(folder, days_old)
    return folder / "rows.jsonl"


def age(folder: Path, days: float) -> None:
    moment = time.time() - days * DAY
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (moment, moment))


def left(data_dir: Path) -> set[str]:
    return {path.name for name in FOLDERS for path in (data_dir / name).glob("[!.]*")}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trash, "NOTICE_SECONDS", 0.0)


def test_what_lay_for_a_week_goes_at_a_start_and_no_sooner(data_dir: Path) -> None:
    old, new = upload(data_dir, 7.1), upload(data_dir, 6.9)
    with idle_services():
        assert left(data_dir) == {old.parent.name, new.parent.name}, "one look, as by a clock that jumped, deletes nothing"
    notices = data_dir / FOLDERS[0] / ".overdue.json"
    notices.write_text(notices.read_text().replace(str(int(time.time()))[:6], str(int(time.time() - 2 * DAY))[:6]))
    with idle_services():
        assert left(data_dir) == {new.parent.name}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("shelf", [JOBS, EVALUATIONS])
def test_what_a_running_job_was_given_stays(data_dir: Path, shelf: str) -> None:
    kept, of_folder, ended = upload(data_dir, 30), upload(data_dir, 30), upload(data_dir, 30)
    jobs = JobFolders(data_dir / shelf)
    ids = [jobs.create({"kind": "import_adapter", "path": str(path)}) for path in (kept, of_folder.parent, ended)]
    with contextlib.ExitStack() as workers:
        for job_id in ids[:2]:
            lock = ProcessLock(jobs.folder(job_id) / LOCK)
            assert lock.acquire()
            workers.callback(lock.release)
        for _ in range(2):
            purge_uploads(data_dir, used_by_jobs(data_dir))
            drop_left(data_dir, used_by_jobs(data_dir))
    assert left(data_dir) == {kept.parent.name, of_folder.parent.name}


def test_an_upload_that_breaks_off_leaves_nothing(data_dir: Path) -> None:
    def come() -> None:
        with new_upload(data_dir) as folder:
            (folder / "half").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        come()
    assert left(data_dir) == set()


@pytest.mark.usefixtures("at_once")
def test_what_older_versions_left_goes_too(data_dir: Path) -> None:
    for place in ("incoming/abc/rows.csv", "uploads/adapter-12.zip"):
        (data_dir / place).parent.mkdir(parents=True, exist_ok=True)
        (data_dir / place).write_bytes(b"x")
    for name in FOLDERS:
        age(data_dir / name, 8)
    for _ in range(2):
        purge_uploads(data_dir, lambda _: False)
    assert left(data_dir) == set()


def test_by_hand_goes_what_nobody_touched_for_a_day(data_dir: Path) -> None:
    grows, rests = upload(data_dir, 2), upload(data_dir, 1.1)
    os.utime(grows)  # a large file is still coming
    drop_left(data_dir, lambda _: False)
    assert left(data_dir) == {grows.parent.name}
    assert not rests.exists()


def test_an_upload_is_dropped_with_its_folder_and_nothing_else_is(data_dir: Path) -> None:
    one, other = upload(data_dir), upload(data_dir)
    drop_upload(data_dir, one)
    outside = data_dir / "datasets" / "rows"
    outside.mkdir(parents=True)
    for path in (outside, data_dir, data_dir / FOLDERS[0], one):
        drop_upload(data_dir, path)
    assert left(data_dir) == {other.parent.name}
    assert outside.is_dir()


def test_the_trash_of_data_sets_is_purged_like_every_other(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trash, "NOTICE_SECONDS", 0.0)
    with idle_services() as services:
        thrown = datasets.open_store(services).root / ".trash"
    for name, days in (("old", 7.1), ("new", 6.9)):
        (thrown / name).mkdir()
        age(thrown / name, days)
    for _ in range(2):
        with idle_services():
            pass
    assert {path.name for path in thrown.glob("[!.]*")} == {"new"}
