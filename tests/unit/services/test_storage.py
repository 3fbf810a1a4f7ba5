"""What takes the disk, and what a clean-up may delete: hand-made folders whose every byte is known."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import orjson
import pytest

from tests.ended_runs import add_ended_run
from tunesmith.access.people import ADMIN, TRAINER, VIEWER, Person
from tunesmith.errors import UserError
from tunesmith.services import exports, storage, system, training
from tunesmith.services.context import Services
from tunesmith.services.home import demo_config
from tunesmith.services.storage import StorageReport
from tunesmith.store.disk_use import RunSizes, Size, size_of
from tunesmith.store.experiments import Experiment
from tunesmith.store.locks import ProcessLock


def add_checkpoints(services: Services, run: Experiment, sizes: dict[int, int], best_step: int = 0) -> None:
    """Write whole checkpoints of so many bytes; each knows the step of the best validation."""
    for step, size in sizes.items():
        folder = services.store.folder(run.id).checkpoint(step)
        folder.mkdir(parents=True)
        state = orjson.dumps({"best_step": best_step})
        (folder / "state.json").write_bytes(state)
        (folder / "MANIFEST.json").write_bytes(b"{}")
        (folder / "adapters.safetensors").write_bytes(b"x" * (size - len(state) - 2))


def count(services: Services) -> StorageReport:
    storage.begin_count(services, wait_seconds=30)
    report = storage.last_report(services)
    assert report is not None
    return report


@pytest.fixture
def run(services: Services) -> Experiment:
    return add_ended_run(services, "has old ones")


def test_every_byte_is_counted_once_under_its_kind(services: Services, run: Experiment) -> None:
    add_checkpoints(services, run, {2: 1000, 4: 500})
    folder = services.store.folder(run.id)
    folder.rollouts.write_bytes(b"r" * 70)
    for path, size in (("cache/x.jsonl", 11), ("datasets/rows/train.jsonl", 13), ("datasets/.trash/old/train.jsonl", 17), ("log", 19)):
        (services.data_dir / path).parent.mkdir(parents=True, exist_ok=True)
        (services.data_dir / path).write_bytes(b"d" * size)
    (exports.exports_folder(services) / "one").mkdir(parents=True)
    (exports.exports_folder(services) / "one" / "model.gguf").write_bytes(b"g" * 23)
    report = count(services)
    kinds = {name: size.bytes for name, size in report.kinds.items()}
    assert (kinds["run_checkpoints"], kinds["run_rollouts"]) == (1500, 70)
    assert (kinds["cache"], kinds["datasets"], kinds["trash"], kinds["exports"]) == (11, 13, 17, 23)
    assert kinds["run_logs"] == sum(p.stat().st_size for p in (folder.metrics, folder.events, folder.log))
    assert kinds["run_adapter"] == sum(p.stat().st_size for p in folder.adapter.iterdir())
    everything = [p.stat().st_size for p in services.data_dir.rglob("*") if p.is_file()]
    assert report.total == Size(sum(everything), len(everything))
    (use,) = report.runs
    assert use.size.total.bytes == sum(p.stat().st_size for p in folder.path.rglob("*") if p.is_file())


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "big").write_bytes(b"b" * 10_000)
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "big")
    (tmp_path / "inside" / "loop").symlink_to(tmp_path)
    assert size_of(tmp_path / "inside").bytes < 1000


def test_the_newest_and_the_best_stay(services: Services, run: Experiment) -> None:
    add_checkpoints(services, run, {2: 1000, 4: 900, 6: 800, 8: 700}, best_step=4)
    (use,) = count(services).runs
    assert (use.size.old_steps, use.freeable_bytes) == ([2, 6], 1800)
    assert storage.delete_old_checkpoints(services, [run.id]) == 1800
    folder = services.store.folder(run.id)
    assert folder.checkpoint_steps() == [4, 8]
    assert folder.has_adapter()
    assert not list((folder.path / "checkpoints").glob(".*"))
    assert storage.delete_old_checkpoints(services, [run.id]) == 0
    assert count(services).runs[0].freeable_bytes == 0


def test_half_a_checkpoint_is_never_the_one_that_is_kept(services: Services, run: Experiment) -> None:
    """Without its manifest a checkpoint is none: the whole one before it must stay."""
    add_checkpoints(services, run, {2: 1000, 4: 900, 6: 800})
    (services.store.folder(run.id).checkpoint(6) / "MANIFEST.json").unlink()
    storage.delete_old_checkpoints(services, [run.id])
    assert services.store.folder(run.id).checkpoint_steps() == [4]


def test_runs_that_go_on_keep_theirs(services: Services) -> None:
    queued = training.submit(services, demo_config())
    add_checkpoints(services, services.store.get(queued), {1: 500, 2: 500})
    (use,) = count(services).runs
    assert use.freeable_bytes == 0
    assert use.kept is not None
    with pytest.raises(UserError) as error:
        storage.delete_old_checkpoints(services, [queued])
    assert error.value.code == "run_still_active"
    assert services.store.folder(queued).checkpoint_steps() == [1, 2]


def test_runs_that_others_go_on_from_keep_theirs(services: Services, run: Experiment) -> None:
    add_checkpoints(services, run, {2: 1000, 4: 900})
    child = training.continue_run(services, run.id, 3)
    services.store.transition(services.store.get(child), "cancelled")
    assert {use.id: use.kept.code for use in count(services).runs if use.kept} == {run.id: "run_is_continued"}
    with pytest.raises(UserError) as error:
        storage.delete_old_checkpoints(services, [run.id])
    assert error.value.code == "run_is_continued"


def test_a_run_that_a_job_works_with_keeps_its_own(services: Services, run: Experiment) -> None:
    add_checkpoints(services, run, {2: 1000, 4: 900})
    folder = services.data_dir / "jobs" / "20260101-000000-aaaaaa"
    folder.mkdir(parents=True)
    asked = {"kind": "evaluate", "created_at": 1.0, "variants": [{"adapter_path": str(services.store.folder(run.id).checkpoint(2))}]}
    (folder / "request.json").write_bytes(orjson.dumps(asked))
    lock = ProcessLock(folder / "lock")
    assert lock.acquire()
    try:
        with pytest.raises(UserError) as error:
            storage.delete_old_checkpoints(services, [run.id])
        assert error.value.code == "run_is_asked"
    finally:
        lock.release()
    assert storage.delete_old_checkpoints(services, [run.id]) == 1000


def test_a_worker_that_begins_meanwhile_is_left_alone(services: Services, run: Experiment) -> None:
    add_checkpoints(services, run, {2: 1000, 4: 900})
    worker = ProcessLock(services.store.run_lock(run.id))
    assert worker.acquire()
    assert storage.delete_old_checkpoints(services, [run.id]) == 0
    worker.release()
    assert services.store.folder(run.id).checkpoint_steps() == [2, 4]


def test_trainers_clean_their_own_runs(services: Services, run: Experiment) -> None:
    """The run is Ann's."""
    add_checkpoints(services, run, {2: 1000, 4: 900})
    report = count(services)
    tom, ann, vi = (services.of(Person(name, role)) for name, role in (("Tom", TRAINER), ("ann", TRAINER), ("Vi", VIEWER)))
    assert [storage.cleanable(each, report) for each in (tom, vi)] == [[], []]
    for other, code in ((tom, "owned_by_another"), (vi, "role_needed")):
        with pytest.raises(UserError) as error:
            storage.delete_old_checkpoints(other, [run.id])
        assert error.value.code == code
    assert [use.id for use in storage.cleanable(ann, report)] == [run.id]
    assert storage.delete_old_checkpoints(ann, [run.id]) == 1000


def test_only_admins_empty_trash_and_cache(services: Services, run: Experiment) -> None:
    services.store.trash(run.id)
    for path in ("datasets/.trash/rows", "arena/.trash/a"):
        (services.data_dir / path).mkdir(parents=True)
        (services.data_dir / path / "f").write_bytes(b"x" * 50)
    (services.data_dir / "cache").mkdir(exist_ok=True)
    (services.data_dir / "cache" / "old.jsonl").write_bytes(b"x" * 40)
    inside = size_of(services.data_dir / ".trash").bytes
    time.sleep(0.01)
    tom, ada = services.of(Person("Tom", TRAINER)), services.of(Person("Ada", ADMIN))
    left = services.data_dir / "uploads" / "abc"
    left.mkdir(parents=True)
    (left / "model.zip").write_bytes(b"x" * 70)
    for act in (storage.empty_trash, storage.clear_cache, storage.clear_uploads):
        with pytest.raises(UserError, match="role_needed"):
            act(tom)
    assert storage.clear_uploads(ada) == 0  # it has just come
    assert count(services).kinds["uploads"] == Size(70, 1)
    for path in (left / "model.zip", left):
        os.utime(path, (1.0, 1.0))
    assert storage.clear_uploads(ada) == 70
    assert storage.empty_trash(ada) == inside + 100
    assert storage.clear_cache(ada) == 40
    kinds = count(services).kinds
    assert (kinds["trash"].bytes, kinds["cache"].bytes) == (0, 0)
    assert services.store.trashed_count() == 0


def test_an_ended_run_is_counted_again_only_when_its_folder_changed(
    services: Services, run: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, folder = RunSizes(), services.store.folder(run.id)
    first = sizes.of(folder, ended=True)
    looked: list[Path] = []
    monkeypatch.setattr("tunesmith.store.disk_use.size_of_run", lambda each: looked.append(each.path) or first)
    assert sizes.of(folder, ended=True) is first
    assert looked == []
    add_checkpoints(services, run, {2: 100})
    sizes.of(folder, ended=True)
    sizes.of(folder, ended=False)
    assert looked == [folder.path] * 2


def test_exports_go_to_the_chosen_folder_and_old_ones_are_still_found(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_DATA_DIR", str(services.data_dir))
    for folder, size in ((services.data_dir / "exports" / "early", 30), (tmp_path / "out" / "late", 60)):
        folder.mkdir(parents=True)
        (folder / "tunesmith.json").write_bytes(orjson.dumps({"format": "gguf", "made_at": 1.0}))
        (folder / "model.gguf").write_bytes(b"g" * size)
    with pytest.raises(UserError, match="folder_missing"):
        system.save_settings(services, exports_folder=str(tmp_path / "nowhere"))
    system.save_settings(services, exports_folder=str(tmp_path / "out"))
    assert exports.exports_folder(services) == tmp_path / "out"
    assert {made.name for made in exports.list_made(services)} == {"early", "late"}
    assert count(services).kinds["exports"].bytes == sum(
        p.stat().st_size for p in [*tmp_path.rglob("out/late/*"), *(services.data_dir / "exports").rglob("*")] if p.is_file()
    )
    (services.data_dir / "models" / "ours").mkdir(parents=True)
    (services.data_dir / "models" / "ours" / "tunesmith.json").write_bytes(orjson.dumps({"made_at": 2.0}))
    listed = storage.list_exports(services)
    assert {made.name for made in listed} == {"early", "late"}
    with pytest.raises(UserError, match="export_unknown"):
        storage.delete_exports(services, [str(services.data_dir / "models" / "ours")])
    assert storage.delete_exports(services, [str(made.path) for made in listed]) == sum(made.size_bytes for made in listed) > 90
    assert [made.name for made in exports.list_made(services)] == ["ours"]


def test_a_failed_count_leaves_the_last_one(services: Services, run: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    first = count(services)

    def fail(path: Path) -> int:
        raise OSError("the drive is gone")

    monkeypatch.setattr(storage, "disk_free_bytes", fail)
    storage.begin_count(services, wait_seconds=10)
    assert storage.last_report(services) is first
    assert storage.share_counted(services) is None
    assert dataclasses.asdict(first)["runs"][0]["id"] == run.id
