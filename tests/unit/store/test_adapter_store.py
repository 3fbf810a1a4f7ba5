"""Adapters that no run made: taken over as a whole, named apart, thrown away and brought back."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.adapters import add_adapter
from tunesmith.errors import UserError
from tunesmith.store import trash
from tunesmith.store.adapters import AdapterStore
from tunesmith.store.labels import change_labels, set_name


def test_equal_names_get_ids_of_their_own(tmp_path: Path) -> None:
    first, second = add_adapter(tmp_path, "会社 facts!"), add_adapter(tmp_path, "会社 facts!")
    assert (first.id, second.id) == ("会社-facts", "会社-facts-2")
    assert [record.id for record in AdapterStore(tmp_path).all()] == [second.id, first.id]


def test_trash_and_back(tmp_path: Path) -> None:
    store, record = AdapterStore(tmp_path), add_adapter(tmp_path, "one")
    store.trash(record.id)
    assert store.all() == []
    with pytest.raises(UserError, match="adapter_unknown"):
        store.get(record.id)
    store.restore(record.id)
    assert store.get(record.id) == record


def test_the_id_of_a_thrown_away_adapter_is_not_given_again(tmp_path: Path) -> None:
    store, record = AdapterStore(tmp_path), add_adapter(tmp_path, "one")
    store.trash(record.id)
    assert add_adapter(tmp_path, "one").id == "one-2"
    store.restore(record.id)
    assert store.get(record.id) == record


def test_the_trash_is_emptied_after_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trash, "NOTICE_SECONDS", 0.0)
    store, old, new = AdapterStore(tmp_path), add_adapter(tmp_path, "old"), add_adapter(tmp_path, "new")
    for record in (old, new):
        store.trash(record.id)
    long_ago = time.time() - 8 * 86400
    os.utime(store.root / ".trash" / old.id, (long_ago, long_ago))
    store.purge_trash()
    assert [path.name for path in (store.root / ".trash").iterdir()] == [new.id]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    store = AdapterStore(tmp_path)

    def write() -> None:
        with store.staging() as folder:
            (folder / "adapter").mkdir()
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="disk_full"):
        write()
    assert [path.name for path in store.root.iterdir()] == [".trash"]


def test_a_broken_record_hides_no_other(tmp_path: Path) -> None:
    store, good, bad = AdapterStore(tmp_path), add_adapter(tmp_path, "good"), add_adapter(tmp_path, "bad")
    (store.folder(bad.id) / "record.json").write_text("{")
    assert [record.id for record in store.all()] == [good.id]


def test_labels_keep_what_else_was_said(tmp_path: Path) -> None:
    store, record = AdapterStore(tmp_path), add_adapter(tmp_path, "one")
    change_labels(store.folder(record.id), tags=["a"])
    set_name(store.folder(record.id), "  another \n name ")
    assert store.get(record.id).name == "another name"
    assert (store.folder(record.id) / "labels.json").read_text().count("tags") == 1


@pytest.mark.parametrize("name", ["../x", "", ".trash", "a/b"])
def test_ids_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        AdapterStore(tmp_path).folder(name)
