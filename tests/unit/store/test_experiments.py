"""Records, transitions, trash."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from tunesmith.errors import UserError
from tunesmith.store import trash
from tunesmith.store.experiments import RESUMABLE, TERMINAL, TRANSITIONS, Experiment, ExperimentStore
from tunesmith.store.migrations import MIGRATIONS, SCHEMA_VERSION


@pytest.fixture
def store(tmp_path: Path) -> ExperimentStore:
    return ExperimentStore(tmp_path / "data")


def make(store: ExperimentStore, **changes: Any) -> Experiment:
    facts = {"name": "a run", "kind": "train", "method": "sft", "model": "demo", "data": "d", "model_path": "/m", "data_path": "/d"}
    return store.create("iters: 3\n", **(facts | changes))


def test_create_writes_a_whole_queued_run(store: ExperimentStore) -> None:
    made = make(store)
    assert store.get(made.id) == made
    assert made.status == "queued"
    folder = store.folder(made.id)
    assert folder.config.read_text() == "iters: 3\n"
    assert {p.name for p in folder.path.iterdir()} == {"experiment.json", "config.yaml"}
    assert store.root.stat().st_mode & 0o777 == 0o700


def test_a_change_of_the_file_is_seen_despite_the_cache(store: ExperimentStore) -> None:
    made = make(store)
    other = ExperimentStore(store.root)
    assert other.get(made.id).status == "queued"
    store.transition(made, "starting")
    assert other.get(made.id).status == "starting"


def test_an_ended_run_can_only_be_queued_again_and_a_completed_one_not_even_that(store: ExperimentStore) -> None:
    for status in TERMINAL:
        run = make(store)
        run = store.transition(run, "starting")
        run = store.transition(run, status)
        for target in {*TRANSITIONS, "completed"} - ({"queued"} if status in RESUMABLE else set()):
            with pytest.raises(ValueError, match="cannot become"):
                store.transition(run, target)
        assert store.get(run.id).status == status


def test_history_tells_every_step(store: ExperimentStore) -> None:
    run = make(store)
    for status in ("starting", "running", "stopping", "cancelled"):
        run = store.transition(run, status)
    assert [h["status"] for h in run.history] == ["queued", "starting", "running", "stopping", "cancelled"]
    assert run.rev == 4


def test_one_bad_run_never_hides_the_list(store: ExperimentStore) -> None:
    good, torn, empty, future = make(store), make(store), make(store), make(store)
    store.folder(torn.id).record.write_bytes(b'{"id": "x"')
    store.folder(empty.id).record.unlink()
    record = orjson.loads(store.folder(future.id).record.read_bytes())
    store.folder(future.id).record.write_bytes(orjson.dumps(record | {"schema_version": 999}))
    readable, unreadable = ExperimentStore(store.root).all()
    assert [e.id for e in readable] == [good.id]
    assert unreadable == sorted([torn.id, empty.id, future.id])
    with pytest.raises(UserError) as caught:
        store.get(future.id)
    assert caught.value.code == "store_too_new"


def test_an_older_record_is_migrated_and_kept_beside(store: ExperimentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename_base(record: dict[str, Any]) -> dict[str, Any]:
        return {("model" if key == "base" else key): value for key, value in record.items()}

    monkeypatch.setitem(MIGRATIONS, 0, rename_base)
    record = store.folder(make(store).id).record
    today = orjson.loads(record.read_bytes())
    older = orjson.dumps({("base" if key == "model" else key): value for key, value in today.items()} | {"schema_version": 0})
    record.write_bytes(older)
    run = ExperimentStore(store.root).all()[0][0]
    assert (run.model, run.schema_version) == (today["model"], SCHEMA_VERSION)
    assert record.read_bytes() == older  # looking changes nothing
    store.transition(run, "starting")
    assert record.with_name("experiment.json.bak").read_bytes() == older
    assert orjson.loads(record.read_bytes())["model"] == today["model"]


def test_trash_and_restore(store: ExperimentStore) -> None:
    run = store.transition(store.transition(make(store), "starting"), "completed")
    store.trash(run.id)
    assert store.all()[0] == []
    assert [e.id for e in store.trashed()] == [run.id]
    store.restore(run.id)
    assert store.get(run.id).status == "completed"


def test_an_active_run_is_not_thrown_away(store: ExperimentStore) -> None:
    run = make(store)
    with pytest.raises(UserError) as caught:
        store.trash(run.id)
    assert caught.value.code == "run_still_active"
    assert store.get(run.id) == run


def test_trash_is_purged_after_seven_days(store: ExperimentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trash, "NOTICE_SECONDS", 0.0)
    old, young = (store.transition(store.transition(make(store), "starting"), "failed") for _ in range(2))
    for run in (old, young):
        store.trash(run.id)
    eight_days_ago = time.time() - 8 * 86400
    os.utime(store.trash_folder / old.id, (eight_days_ago, eight_days_ago))
    store.purge_trash()
    assert [e.id for e in store.trashed()] == [young.id]


@pytest.mark.parametrize("name", ["../../etc", "..", "", ".trash", "a/b", "/etc", "a\0b", "nope"])
def test_names_lead_nowhere_else(store: ExperimentStore, name: str) -> None:
    with pytest.raises(UserError) as caught:
        store.folder(name)
    assert caught.value.code in {"name_not_allowed", "run_unknown"}


def test_names_of_people_are_kept_apart_from_the_record(store: ExperimentStore) -> None:
    run = make(store)
    store.rename(run.id, "  会社の  事実 ")
    assert store.display_name(run) == "会社の 事実"
    assert store.get(run.id).name == "a run"
    with pytest.raises(UserError):
        store.rename(run.id, "   ")


def test_a_data_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(UserError) as caught:
        ExperimentStore(tmp_path / "data")
    assert caught.value.code in {"data_folder_is_file", "data_folder_not_writable"}


def test_the_mailbox_keeps_a_wish_until_it_is_forgotten(store: ExperimentStore) -> None:
    folder = store.folder(make(store).id)
    folder.request("cancel")
    folder.request("pause")
    folder.forget_requests("pause")
    assert (folder.has_request("cancel"), folder.has_request("pause")) == (True, False)


def test_an_outcome_of_another_launch_does_not_count(store: ExperimentStore) -> None:
    folder = store.folder(make(store).id)
    folder.write_outcome({"nonce": "first", "status": "completed"})
    assert folder.read_outcome("second") is None
    assert (folder.read_outcome("first") or {})["status"] == "completed"
