"""A disk that is full at any point: the old state stays, a person is told by a code, nothing half written is left, it can be done again."""

from __future__ import annotations

import itertools
import logging
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.full_disk import FullDisk
from tests.faults.state_paths import PATHS, Step, build, queued_run, services_of
from tests.faults.whole_store import add_run, read_everything
from tunesmith.errors import UserError
from tunesmith.jobs import supervisor as supervising
from tunesmith.services import runs
from tunesmith.store.experiments import Experiment

logger = logging.getLogger(__name__)
LEFT = re.compile(r"\.(new-.*|.*\.(tmp|new|old|gone|part))")
LIMITS_BYTES = (0, 100, 400, 1000, 2000)
MOST_CALLS = 60
NEEDS_NO_SPACE = {"the_trash_is_emptied", "the_trash_is_purged", "runs_go_to_the_trash_and_back", "data_go_to_the_trash_and_back"}


@contextmanager
def no_larger_than(limit_bytes: int) -> Iterator[None]:
    """Files may only be so large: a longer write comes back short, the next one fails (EFBIG).

    Python does not notice that of its own compiled files: for this long neither we nor our children may write any.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def leftovers(data_dir: Path) -> list[str]:
    return [str(path.relative_to(data_dir)) for path in data_dir.rglob(".*") if LEFT.fullmatch(path.name)]


def look_at(data_dir: Path) -> dict[str, Any]:
    """Look at a copy: looking makes folders."""
    copy = data_dir.with_name("looked-at")
    shutil.copytree(data_dir, copy)
    try:
        return read_everything(copy, torn_lines=MOST_CALLS)
    finally:
        shutil.rmtree(copy)


def said(step: Step) -> str:
    """Do a step; return what a person was told, nothing when all went well."""
    try:
        step()
    except UserError as error:
        return error.code
    return ""


Trouble = Callable[[int], AbstractContextManager[object]]


def refuse_each_call(name: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch, troubles: Sequence[Trouble], most: int) -> int:
    """Do the path's steps; before each is let through, refuse its first call, its second, …; return how often that was."""
    refused = 0
    with services_of(data_dir) as services:
        for number, step in enumerate(build(name, data_dir, monkeypatch)(services, lambda: None)):
            before = look_at(data_dir)
            for call, trouble in itertools.product(range(most), troubles):
                with trouble(call):
                    told = said(step)
                done, refused = not told, refused + bool(told)
                assert told in {"", "disk_full"}, (number, call, told)
                assert leftovers(data_dir) == [], (number, call)
                if done or look_at(data_dir) != before:
                    break  # it needs no more than that, or was done and only what follows it was refused: the audit
            else:
                step()
    return refused


SLOW = {"data_are_imported"}  # a process for each call


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in PATHS])
def test_a_disk_that_is_full_at_any_call(name: str, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    troubles = [lambda call: FullDisk(filled, call), lambda call: FullDisk(filled, call, short=True)]
    refused = refuse_each_call(name, filled, monkeypatch, troubles, MOST_CALLS)
    logger.info("%s: %d times refused", name, refused)
    assert refused or name in NEEDS_NO_SPACE


@pytest.mark.parametrize("name", PATHS)
def test_a_limit_on_the_size_of_files(name: str, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system itself refuses here (EFBIG), also to child processes."""
    refused = refuse_each_call(name, filled, monkeypatch, [lambda call: no_larger_than(LIMITS_BYTES[call])], len(LIMITS_BYTES))
    assert refused or name in NEEDS_NO_SPACE


def test_what_is_done_is_not_told_as_failed(filled: Path) -> None:
    """Who is told that a stop failed, or a start, does it again; the line in the audit log is what is missing."""
    with services_of(filled) as services:
        run_id = queued_run(services)
        with no_larger_than(0):
            runs.stop(services, run_id)
        assert services.store.folder(run_id).has_request("cancel")


def test_an_end_that_could_not_be_written_is_known_all_the_same(filled: Path) -> None:
    """The worker's last words find no room; the supervisor, this one or the next, says why the run has failed."""
    with services_of(filled) as services:
        run_id = queued_run(services)
        run = services.store.transition(services.store.get(run_id), "starting", nonce="mine", pid=1)
        services.store.transition(run, "running")
        folder = services.store.folder(run_id)
        with no_larger_than(0), pytest.raises(UserError, match="disk_full"):
            folder.write_outcome({"nonce": "mine", "status": "completed", "error": None})
        assert folder.read_outcome("another") is None
        services.supervisor.tick()
        ended = services.store.get(run_id)
        assert (ended.status, (ended.error or {})["code"]) == ("failed", "disk_full")
        folder.forget_heartbeat()
        assert folder.read_outcome("mine") is None


def test_a_worker_that_cannot_be_launched_has_failed(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(supervising, "launch_worker", no_room)
    with services_of(filled) as services:
        run_id = queued_run(services)
        services.supervisor._may_start = lambda: True
        services.supervisor.tick()
        ended = services.store.get(run_id)
        assert (ended.status, (ended.error or {})["code"]) == ("failed", "disk_full")


def test_the_trouble_of_one_run_keeps_no_other_waiting(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with services_of(filled) as services:
        first, second = add_run(services.store, "first").id, add_run(services.store, "second").id
        for run_id in (first, second):
            services.store.folder(run_id).request("cancel")
        change = services.store.change

        def refusing(experiment: Experiment, **changes: Any) -> Experiment:
            if experiment.id == second:
                raise UserError("disk_full", folder="")
            return change(experiment, **changes)

        monkeypatch.setattr(services.store, "change", refusing)
        with pytest.raises(UserError, match="disk_full"):
            services.supervisor.tick()
        assert [services.store.get(run_id).status for run_id in (first, second)] == ["cancelled", "queued"]
        monkeypatch.undo()
        services.supervisor.tick()
        assert services.store.get(second).status == "cancelled"
