"""The history of comparisons and the sets of prompts: kept as written, thrown away and brought back, broken files in nobody's way."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tunesmith.errors import UserError
from tunesmith.store import trash
from tunesmith.store.comparisons import Answer, Comparison, ComparisonStore, PromptSetStore, Round, Token
from tunesmith.store.ids import new_id


def make_comparison(comparison_id: str = "20260101-000000-abcdef", question: str = "猫は？", rounds: int = 1) -> Comparison:
    answers = (
        Answer((Token(" 東", 7, -0.5), Token("京\n", 8, None)), "stop", 1.5, 0.25, "<|im_start|>猫は？", 4),
        Answer((), "", 0.0, None),
    )
    each = Round(question, False, "Be brief.", {"temperature": 0.0, "seed": 3}, answers)
    variants = ({"key": "model:demo", "model_path": "/m"}, {"key": "adapter:a@0.5", "model_path": "/m"})
    return Comparison(comparison_id, 12.5, variants, (each,) * rounds)


def test_a_comparison_comes_back_as_it_was(data_dir: Path) -> None:
    store, made = ComparisonStore(data_dir), make_comparison()
    store.save(made)
    assert ComparisonStore(data_dir).get(made.id) == made
    assert made.rounds[0].answers[0].text == "東京"
    with pytest.raises(UserError, match="comparison_unknown"):
        store.get("20260101-000000-000000")
    with pytest.raises(UserError, match="name_not_allowed"):
        store.get("../store")


def test_broken_ones_are_told_and_hide_no_other(data_dir: Path) -> None:
    store = ComparisonStore(data_dir)
    ids = [f"2026010{day}-000000-abcdef" for day in range(1, 7)]
    for each in ids:
        store.save(make_comparison(each))
    (store.root / f"{ids[5]}.json").write_bytes(b'{"rounds": [')
    (store.root / f"{ids[4]}.json").write_bytes(b'{"rounds": [{"question": "?"}], "created_at": 1, "variants": []}')
    (store.root / f"{ids[3]}.json").write_bytes(b"[]")
    assert store.heading(ids[2]).question == "猫は？"
    for each in ids[3:]:
        with pytest.raises(UserError, match="store_file_unreadable"):
            store.get(each)
        with pytest.raises(UserError, match="store_file_unreadable"):
            store.heading(each)
    assert new_id() > ids[0]


def test_the_trash_gives_back_for_seven_days(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trash, "NOTICE_SECONDS", 0.0)
    store, made = ComparisonStore(data_dir), make_comparison()
    store.save(made)
    store.trash(made.id)
    assert store.ids() == []
    with pytest.raises(UserError, match="comparison_unknown"):
        store.heading(made.id)
    store.restore(made.id)
    assert store.get(made.id) == made
    store.trash(made.id)
    store.save(made)
    with pytest.raises(UserError, match="target_exists"):
        store.restore(made.id)
    store.trash(made.id)
    thrown = store.root / ".trash" / f"{made.id}.json"
    assert time.time() - thrown.stat().st_mtime < 60
    os.utime(thrown, (0, time.time() - 6.9 * 86400))
    store.purge_trash()
    assert thrown.exists()
    os.utime(thrown, (0, time.time() - 7.1 * 86400))
    store.purge_trash()
    assert not thrown.exists()


def test_prompt_sets_are_found_by_name_whatever_it_is_made_of(data_dir: Path) -> None:
    store = PromptSetStore(data_dir)
    first = store.save("Staff questions!", ["a", "b"])
    second = store.save("staff   questions?", ["c\n\nd"])
    japanese = store.save("社員の質問", ["猫"])
    again = store.save(" Staff  questions! ", ["e"])
    assert (again.id, again.prompts) == (first.id, ("e",))
    assert len({first.id, second.id, japanese.id}) == 3
    assert [each.name for each in store.all()] == ["Staff questions!", "staff questions?", "社員の質問"]
    assert store.get(second.id).prompts == ("c\n\nd",)
    (store.root / f"{second.id}.json").write_bytes(b'{"name": 3}')
    assert [each.id for each in store.all()] == [first.id, japanese.id]
    for name, code in ((" ", "name_empty"), ("x" * 101, "name_too_long")):
        with pytest.raises(UserError, match=code):
            store.save(name, ["a"])
