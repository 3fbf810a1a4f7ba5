"""The index of runs: equal to the files whatever happened to them or to it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest

from benchmarks.drawn_runs import draw_store
from tunesmith.errors import UserError
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.store import experiment_index
from tunesmith.store.experiment_index import SAVE_AFTER, IndexedRun, Listing
from tunesmith.store.experiment_record import read_record
from tunesmith.store.experiments import Experiment, ExperimentStore
from tunesmith.store.files import write_json
from tunesmith.store.labels import change_labels, read_labels

COUNT = SAVE_AFTER + 10


@pytest.fixture
def store(tmp_path: Path) -> ExperimentStore:
    drawn = draw_store(tmp_path / "data", COUNT)
    drawn.listing()
    return drawn


def cache_of(store: ExperimentStore) -> Path:
    return store.root / "cache" / "experiments.jsonl"


def plain(listing: Listing) -> list[tuple[object, ...]]:
    return [(r.id, r.experiment, r.labels, r.settings, r.adapter, r.name, r.group, r.tags) for r in listing.runs]


def counting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note whose record is read."""
    read: list[str] = []

    def noted(folder: experiment_index.RunFolder) -> Experiment:
        read.append(folder.path.name)
        return read_record(folder)

    monkeypatch.setattr(experiment_index, "read_record", noted)
    return read


def test_the_index_tells_what_the_files_tell(store: ExperimentStore) -> None:
    listing = store.listing()
    assert len(listing.runs) == COUNT
    assert [r.experiment.created_at for r in listing.runs] == sorted((r.experiment.created_at for r in listing.runs), reverse=True)
    for run in listing.runs:
        folder = store.folder(run.id)
        assert run.experiment == read_record(folder)
        assert run.labels == read_labels(folder.path)
        assert run.adapter == folder.has_adapter() == (run.experiment.status == "completed")
        assert run.settings["lora_parameters.rank"] in {4, 8, 16, 32}


def test_a_fresh_process_reads_no_record_and_says_the_same(store: ExperimentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before, read = plain(store.listing()), counting(monkeypatch)
    assert plain(ExperimentStore(store.root).listing()) == before
    assert read == []


def test_a_deleted_cache_changes_nothing_but_the_time(store: ExperimentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before, read = plain(store.listing()), counting(monkeypatch)
    cache_of(store).unlink()
    assert plain(ExperimentStore(store.root).listing()) == before
    assert len(read) == COUNT
    assert cache_of(store).exists()


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    place = data.index(b'"status":"completed"') + len('"status":"')
    return data[:place] + b"X" + data[place + 1 :]


def _from_the_future(data: bytes) -> bytes:
    head, _, body = data.partition(b"\n")
    return orjson.dumps(orjson.loads(head) | {"v": 999}) + b"\n" + body


def _of_other_fields(data: bytes) -> bytes:
    head, _, body = data.partition(b"\n")
    return orjson.dumps(orjson.loads(head) | {"layout": [["id"], ["id", "colour"]]}) + b"\n" + body


@pytest.mark.parametrize(
    "damage", [_cut, _flip, _from_the_future, _of_other_fields, lambda _: b"", lambda _: b"\xff\n[", lambda _: b"[]\n[]"]
)
def test_a_damaged_cache_is_made_again(store: ExperimentStore, damage: object) -> None:
    before, whole = plain(store.listing()), cache_of(store).read_bytes()
    damaged = damage(whole)  # type: ignore[operator]
    assert damaged != whole
    cache_of(store).write_bytes(damaged)
    assert plain(ExperimentStore(store.root).listing()) == before
    assert plain(ExperimentStore(store.root).listing()) == before
    assert orjson.loads(cache_of(store).read_bytes().partition(b"\n")[0])["v"] == experiment_index.INDEX_VERSION


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cache").write_text("in the way")
    store = draw_store(tmp_path / "data", COUNT)
    assert len(store.listing().runs) == COUNT
    assert (tmp_path / "data" / "cache").read_text() == "in the way"


def test_an_old_cache_is_believed_only_where_the_files_are_the_same(store: ExperimentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that may happen between two processes: a changed record, labels, an adapter come and gone, a new run, a lost one."""
    runs = store.listing().runs
    record, labelled, lost, moved = runs[0], runs[1], runs[2], runs[3]
    bare = next(r for r in runs[4:] if not r.adapter)
    full = next(r for r in runs[4:] if r.adapter)
    old = cache_of(store).read_bytes()
    write_json(store.folder(record.id).record, orjson.loads(store.folder(record.id).record.read_bytes()) | {"owner": "someone else"})
    change_labels(store.folder(labelled.id).path, name="Another name", favourite=True)
    store.folder(lost.id).path.rename(store.root / "elsewhere")
    store.folder(moved.id).path.rename(store.experiments / "moved")
    store.folder(bare.id).adapter.mkdir()
    store.folder(bare.id).manifest.write_text("{}")
    store.folder(full.id).manifest.unlink()
    cache_of(store).write_bytes(old)
    read = counting(monkeypatch)
    found = {r.id: r for r in ExperimentStore(store.root).listing().runs}
    assert set(read) == {record.id, labelled.id, "moved", bare.id, full.id}
    assert found[record.id].experiment.owner == "someone else"
    assert (found[labelled.id].name, found[labelled.id].favourite) == ("Another name", True)
    assert lost.id not in found
    assert moved.id not in found
    assert found["moved"].experiment.id == "moved"
    assert (found[bare.id].adapter, found[full.id].adapter) == (True, False)


def test_a_change_of_equal_length_in_place_is_seen(store: ExperimentStore) -> None:
    run = store.listing().runs[0]
    path = store.folder(run.id).record
    data = path.read_bytes().replace(run.experiment.owner.encode(), b"x" * len(run.experiment.owner))
    state = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert (path.stat().st_size, path.stat().st_ino) == (state.st_size, state.st_ino)
    assert set(store.get(run.id).owner) == {"x"}
    assert set(store.listing().runs[0].experiment.owner) == {"x"}


def test_an_unchanged_store_gives_the_same_objects(store: ExperimentStore) -> None:
    first = store.listing()
    assert store.listing() is first
    change_labels(store.folder(first.runs[5].id).path, tags=["new"])
    second = store.listing()
    assert [a is b for a, b in zip(first.runs, second.runs, strict=True)].count(False) == 1
    assert second.runs[5].tags == ("new",)


def test_a_run_looked_at_alone_is_new_in_the_list_too(store: ExperimentStore) -> None:
    run = store.listing().runs[0]
    change_labels(store.folder(run.id).path, name="Seen first by its address")
    assert store.find(run.id).name == "Seen first by its address"
    assert store.listing().runs[0].name == "Seen first by its address"


def test_unreadable_runs_are_named_and_come_back(store: ExperimentStore) -> None:
    run = store.listing().runs[0]
    path = store.folder(run.id).record
    whole = path.read_bytes()
    record = orjson.loads(whole)
    wrong = ({"schema_version": 999}, {"status": "dancing"}, {"created_at": "soon"}, {"summary": [1]})
    for broken in (b'{"id"', b"[]", b"\xff", b"", *(orjson.dumps(record | facts) for facts in wrong)):
        path.write_bytes(broken)
        listing = store.listing()
        assert (listing.unreadable, len(listing.runs)) == ([run.id], COUNT - 1), broken
    with pytest.raises(UserError) as caught:
        store.get(run.id)
    assert caught.value.code == "store_file_unreadable"
    path.write_bytes(whole)
    assert len(store.listing().runs) == COUNT


@pytest.mark.parametrize("settings", ["a: [", "[]", "\x00", "a: " + "[" * 3000, "x: .nan\nday: 2024-01-01\n1: {2: 3}\n"])
def test_settings_of_any_kind_hide_nothing(tmp_path: Path, settings: str) -> None:
    """What is told at first and what comes back from the file are the same, also where YAML knows more than JSON."""
    store = draw_store(tmp_path / "data", COUNT)
    folder = store.experiments / next(iter(sorted(p.name for p in store.experiments.iterdir())))
    (folder / "config.yaml").write_text(settings)
    before = plain(store.listing())
    assert len(before) == COUNT
    assert cache_of(store).exists()
    assert plain(ExperimentStore(store.root).listing()) == before


def test_a_link_out_of_the_folder_is_no_run(store: ExperimentStore, tmp_path: Path) -> None:
    (store.experiments / "link").symlink_to(tmp_path)
    assert len(store.listing().runs) == COUNT
    assert store.listing().unreadable == []


WRITER = """
import sys
from pathlib import Path
from tunesmith.store.experiments import ExperimentStore
from tunesmith.store.labels import change_labels
store = ExperimentStore(Path(sys.argv[1]))
for number in range(3):
    for run in store.listing().runs[:30]:
        change_labels(store.folder(run.id).path, name=f"{sys.argv[2]} {number}")
store.listing()
"""


def test_two_processes_and_this_one_agree_in_the_end(store: ExperimentStore) -> None:
    """All write labels and the cache at the same time, while this process reads: each listing is whole, the last one true."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(store.root), name], stderr=subprocess.PIPE) for name in ("a", "b")]
    while any(writer.poll() is None for writer in writers):
        assert len(ExperimentStore(store.root).listing().runs) == COUNT
    assert [writer.communicate()[1] for writer in writers] == [b"", b""]
    told = {run.id: run.name for run in store.listing().runs}
    assert told == {run.id: run.name for run in ExperimentStore(store.root).listing().runs}
    assert told == {name: str(read_labels(store.folder(name).path).get("name") or read_record(store.folder(name)).name) for name in told}
    assert {name[2:] for name in told.values() if name[:2] in {"a ", "b "}} == {"2"}


def test_threads_share_one_index(store: ExperimentStore) -> None:
    found: list[int] = []

    def look() -> None:
        for _ in range(5):
            found.append(len(store.listing().runs))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [COUNT] * 20


def test_the_supervisor_is_told_of_what_is_not_completed(store: ExperimentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = next(r for r in store.listing().runs if r.experiment.status == "interrupted")
    assert ended.id in {e.id for e in store.unsettled()}
    store.folder(ended.id).request("resume")
    assert [e.id for e in store.with_request("resume", store.unsettled())] == [ended.id]
    assert store.with_request("cancel", store.unsettled()) == []
    store.transition(ended.experiment, "queued")
    assert {e.id: e.status for e in store.unsettled()}[ended.id] == "queued"
    assert not any(e.status == "completed" for e in store.unsettled())
    looked: list[str] = []
    look = experiment_index.ExperimentIndex._look

    def noted(self: experiment_index.ExperimentIndex, folder: int, name: str) -> IndexedRun:
        looked.append(name)
        return look(self, folder, name)

    monkeypatch.setattr(experiment_index.ExperimentIndex, "_look", noted)
    store.unsettled()
    assert looked == [ended.id]


def test_a_new_supervisor_believes_nothing_that_the_last_one_may_have_changed(store: ExperimentStore) -> None:
    """It waited for the lock while another process queued an ended run again; only then is it told to cancel it."""
    ended = next(r.experiment for r in store.listing().runs if r.experiment.status == "interrupted")
    waiting = Supervisor(store)
    other = ExperimentStore(store.root)
    other.transition(other.get(ended.id), "queued")
    other.folder(ended.id).request("cancel")
    waiting.tick()
    assert read_record(store.folder(ended.id)).status == "cancelled"
