"""Every state in which a crash may leave the data folder is one before or after a step, never a third, and opens."""

from __future__ import annotations

import logging
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.faults.recorder import Recorder, Tree, crashes, last_flush
from tests.faults.state_paths import PATHS, Loose, Step, build, ended_run, services_of
from tests.faults.whole_store import read_everything
from tunesmith.services.context import Services
from tunesmith.store import saved_folders
from tunesmith.store.files import flush_folder

logger = logging.getLogger(__name__)

SAMPLE = 20  # states of a path in `make test`; `make test-all` looks at all
MAY_BE_LOST = {"a_run_measures", "a_run_tells"}  # figures of a step: lines are appended without waiting for the drive


def settle_all(data_dir: Path) -> None:
    """Do what the next supervisor does for a run whose worker was killed."""
    for run in data_dir.glob("experiments/[!.]*"):
        saved_folders.settle(run)
        saved_folders.settle(run / "checkpoints")


def look_at(tree: Tree, folder: Path) -> dict[str, Any]:
    place = folder / "crashed"
    place.mkdir()
    try:
        tree.write_to(place)
        settle_all(place)
        return read_everything(place)
    finally:
        shutil.rmtree(place)


@dataclass
class Work:
    """What a path did: its operations, how many had been done at the end of each step, from which step on what it made may be lost."""

    recorder: Recorder
    marks: list[int] = field(default_factory=lambda: [0])
    sure: list[int] = field(default_factory=lambda: [0])

    def mark(self, loose: bool = False) -> None:
        self.marks.append(self.recorder.mark())
        self.sure.append(self.sure[-1] if loose else len(self.sure))


def do_work(name: str, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    data_dir = Path(tempfile.mkdtemp(dir=shelf)) / "data"
    shutil.copytree(shelf / "filled", data_dir)
    with services_of(data_dir) as services:
        marks: list[Work] = []
        steps = build(name, data_dir, monkeypatch)(services, lambda: marks[0].mark())
        with Recorder(data_dir) as recorder:
            marks.append(Work(recorder))
            for step in steps:
                step()
                marks[0].mark(isinstance(step, Loose) or name in MAY_BE_LOST)
    return marks[0]


def judged(work: Work, views: list[dict[str, Any]]) -> Iterator[tuple[Tree, str, list[dict[str, Any]]]]:
    """Yield each state with what may be found in it: what the step that was going on found, or what it made.

    What a step had made when it returned is on the drive, unless it may be lost; on a file system that keeps the order of what is done,
    all that follows the last flush may be lost together.
    """
    trees = []
    for crash in crashes(work.recorder.begin, work.recorder.log):
        before = max(number for number, mark in enumerate(work.marks) if mark <= crash.done)
        after = min(number for number, mark in enumerate(work.marks) if mark >= crash.done)
        first = min(before, after) if crash.how == "killed" else work.sure[min(before, after)]
        yield crash.tree, f"{crash.done}: {crash.how}", views[first : after + 1]
        if crash.how == "killed":
            trees.append(crash.tree)
    for number, mark in enumerate(work.marks):
        for done in range(last_flush(work.recorder.log, mark), mark):
            yield trees[done], f"{done}: lost after step {number} returned", views[work.sure[number] : number + 1]


def check(name: str, shelf: Path, monkeypatch: pytest.MonkeyPatch, most: int | None = None) -> tuple[int, int]:
    """Look at the path's crash states; return how many there are, and how many different ones were looked at."""
    work = do_work(name, shelf, monkeypatch)
    trees = {crash.done: crash.tree for crash in crashes(work.recorder.begin, work.recorder.log) if crash.how == "killed"}
    views = [look_at(trees[mark], shelf) for mark in work.marks]
    legal: dict[frozenset[tuple[str, bytes | None]], tuple[Tree, str, list[dict[str, Any]]]] = {}
    count = 0
    for tree, how, allowed in judged(work, views):
        count += 1
        key = tree.key()
        known = legal.get(key)
        legal[key] = (tree, how, [view for view in known[2] if view in allowed] if known else allowed)
    chosen = list(legal.values())
    if most is not None and len(chosen) > most:
        chosen = random.Random(1).sample(chosen, most)
    for tree, how, allowed in chosen:
        found = look_at(tree, shelf)
        assert any(found == view for view in allowed), (how, [_differences(found, view) for view in allowed])
    return count, len(chosen)


def _differences(found: Any, expected: Any, where: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(expected, dict):
        parts = [_differences(found.get(key, "-"), expected.get(key, "-"), f"{where}/{key}") for key in found.keys() | expected.keys()]
        return [line for part in parts for line in part]
    return [] if found == expected else [f"{where}: {str(found)[:200]} is not {str(expected)[:200]}"]


@pytest.mark.parametrize("name", PATHS)
def test_a_crash_leaves_the_old_or_the_new(name: str, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, looked_at = check(name, shelf, monkeypatch, SAMPLE)
    logger.info("%s: %d states, %d looked at", name, count, looked_at)
    assert count > looked_at > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", PATHS)
def test_every_crash_leaves_the_old_or_the_new(name: str, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, looked_at = check(name, shelf, monkeypatch)
    logger.info("%s: %d states, %d different", name, count, looked_at)
    assert count > looked_at > 0


def _write_in_place(record: Path, changed: bytes) -> None:
    record.write_bytes(changed)


def _rename_what_is_not_on_the_drive(record: Path, changed: bytes) -> None:
    aside = record.with_name(".aside")
    aside.write_bytes(changed)
    aside.rename(record)
    flush_folder(record.parent)


def _forget_the_folder(record: Path, changed: bytes) -> None:
    aside = record.with_name(".aside")
    with aside.open("wb") as stream:
        stream.write(changed)
        stream.flush()
        os.fsync(stream.fileno())
    aside.rename(record)


@pytest.mark.parametrize("writer", [_write_in_place, _rename_what_is_not_on_the_drive, _forget_the_folder])
def test_a_careless_writer_is_found(writer: Callable[[Path, bytes], None], shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(s: Services, mark: object) -> list[Step]:
        record = ended_run(s).record
        return [lambda: writer(record, orjson.dumps(orjson.loads(record.read_bytes()) | {"owner": "somebody"}))]

    monkeypatch.setitem(PATHS, "careless", careless)
    with pytest.raises(AssertionError):
        check("careless", shelf, monkeypatch)
