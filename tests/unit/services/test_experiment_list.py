"""The list of runs without a page: search, order, groups, labels of many, family, each person's columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith.access.people import VIEWER, Person
from tunesmith.errors import UserError
from tunesmith.services import experiment_search, experiment_views, experiments, home, run_family
from tunesmith.services.context import Services
from tunesmith.services.experiment_search import RunQuery, find
from tunesmith.services.experiments import ExperimentRow
from tunesmith.settings.files import to_yaml
from tunesmith.store.adapters import AdapterStore
from tunesmith.training.config import TrainConfig

Add = Callable[..., str]


@pytest.fixture
def add(services: Services) -> Add:
    def add_one(name: str, status: str = "completed", begin: str = "", **changes: Any) -> str:
        facts = {"name": name, "kind": "train", "method": "sft", "model": "demo", "data": "facts", "model_path": "/m", "data_path": "/d"}
        run = services.store.create(to_yaml(TrainConfig(resume_adapter_file=begin)), **facts)
        for step in ("starting", status) if status != "queued" else ():
            run = services.store.transition(run, step)
        services.store.change(run, **changes)
        return run.id

    return add_one


def row(number: int, **facts: Any) -> ExperimentRow:
    plain = ExperimentRow(
        id=f"run-{number}", name=f"run {number}", status="completed", model="demo", method="sft", data="facts", created_at=1e9 - number,
        final_loss=None, best_val_loss=None, reward=None, duration_seconds=None, sparkline=[], adapter=False, error=None,
    )  # fmt: skip
    return dataclasses.replace(plain, **facts)


def ids(rows: list[ExperimentRow]) -> list[str]:
    return [each.id for each in rows]


def test_every_word_must_be_found_somewhere() -> None:
    rows = [row(0, name="Sums", tags=("Keep", "paper")), row(1, name="sums", notes="a **paper**"), row(2, name="ﾃｽﾄ run", owner="Ａｋｉ")]
    assert ids(find(rows, RunQuery("SUMS paper"))) == ["run-0", "run-1"]
    assert ids(find(rows, RunQuery("keep"))) == ["run-0"]
    assert ids(find(rows, RunQuery("テスト aki"))) == ["run-2"]
    assert ids(find(rows, RunQuery("sums nothing"))) == []
    assert ids(find(rows, RunQuery("  "))) == ["run-0", "run-1", "run-2"]


def test_filters_take_one_of_their_values_and_all_of_each_other() -> None:
    rows = [row(0, tags=("a", "b")), row(1, tags=("b",), status="failed"), row(2, favourite=True), row(3, tags=("c",), group="g")]
    assert ids(find(rows, RunQuery(filters={"tag": ["a", "c"]}))) == ["run-0", "run-3"]
    assert ids(find(rows, RunQuery(filters={"tag": ["b"], "status": ["failed", "queued"]}))) == ["run-1"]
    assert ids(find(rows, RunQuery(filters={"tag": [""]}))) == ["run-2"]
    assert ids(find(rows, RunQuery(filters={"tag": [], "group": ["g"]}))) == ["run-3"]
    assert ids(find(rows, RunQuery(favourites=True))) == ["run-2"]
    assert experiment_search.choices(rows, "tag") == {"a": 1, "b": 2, "c": 1, "": 1}


def test_time_is_counted_back_from_now() -> None:
    rows = [row(0, created_at=100_000.0), row(1, created_at=13_599.0), row(2, created_at=13_601.0)]
    assert ids(find(rows, RunQuery(days=1), now=100_000.0)) == ["run-0", "run-2"]


def test_runs_without_a_value_come_last_in_both_directions_and_equals_stay_newest_first() -> None:
    rows = [row(0, final_loss=2.0), row(1), row(2, final_loss=0.0), row(3, final_loss=2.0)]
    assert ids(find(rows, RunQuery(order="final_loss"))) == ["run-0", "run-3", "run-2", "run-1"]
    assert ids(find(rows, RunQuery(order="final_loss", ascending=True))) == ["run-2", "run-0", "run-3", "run-1"]


def test_any_setting_and_figure_is_a_column() -> None:
    rows = [
        row(0, settings={"learning_rate": 1e-3, "name": "x"}, figures={"extra": 2.0, "loss_last": 1.0}),
        row(1, settings={"warmup": "x"}),
    ]
    columns = experiment_search.columns_of(rows)
    assert columns[len(experiment_search.COLUMNS) :] == ["settings.learning_rate", "settings.warmup", "figures.extra"]
    assert ids(find(rows, RunQuery(order="settings.learning_rate"))) == ["run-0", "run-1"]
    assert [experiment_search.cell(rows[0], c) for c in columns[-3:]] == [1e-3, None, 2.0]


def test_settings_of_several_kinds_are_ordered_as_words() -> None:
    rows = [row(0, settings={"x": 10}), row(1, settings={"x": "auto"}), row(2, settings={"x": [1]})]
    assert ids(find(rows, RunQuery(order="settings.x", ascending=True))) == ["run-0", "run-2", "run-1"]


def test_a_group_is_its_first_run_and_a_number() -> None:
    rows = [row(0), row(1, group="a"), row(2, group="b"), row(3, group="a"), row(4)]
    kept, sizes = experiment_search.collapse(rows)
    assert ids(kept) == ["run-0", "run-1", "run-2", "run-4"]
    assert sizes == {"a": 2, "b": 1}


def test_people_say_things_of_many_runs(services: Services, add: Add) -> None:
    runs = [add("a"), add("b", group="sweep-1"), add("c")]
    experiments.change_tags(services, [runs[0]], ["old", " old ", "kept  twice"])
    experiments.change_tags(services, runs[:2], add=["new"], remove=["old"])
    experiments.set_favourite(services, runs[1:], True)
    experiments.set_favourite(services, runs[2:], False)
    experiments.set_group(services, runs[:1], " my   group ")
    experiments.set_group(services, runs[1:2], "")
    experiments.set_notes(services, runs[0], "  **bold**\n")
    told = {r.id: (r.tags, r.favourite, r.group, r.notes) for r in experiments.table(services)}
    assert [told[run] for run in runs] == [
        (("kept twice", "new"), False, "my group", "**bold**"), (("new",), True, "", ""), ((), False, "", ""),
    ]  # fmt: skip


def test_too_much_is_refused_and_changes_nothing(services: Services, add: Add) -> None:
    run = add("a")
    for act, code in (
        (lambda: experiments.change_tags(services, [run], [str(n) for n in range(21)]), "tags_too_many"),
        (lambda: experiments.set_notes(services, run, "x" * 20_001), "notes_too_long"),
        (lambda: experiments.set_group(services, [run], "x" * 201), "name_too_long"),
        (lambda: experiments.rename(services, run, " "), "name_empty"),
    ):
        with pytest.raises(UserError) as caught:
            act()
        assert caught.value.code == code
    assert not services.store.folder(run).labels.exists()


def test_a_reader_of_another_servers_store_changes_nothing(services: Services, add: Add) -> None:
    run = add("a")
    services.supervisor._lock.release()
    for act in (
        lambda: experiments.change_tags(services, [run], ["x"]), lambda: experiments.set_notes(services, run, "x"),
        lambda: experiments.set_favourite(services, [run], True), lambda: experiments.set_group(services, [run], "x"),
        lambda: experiments.empty_trash(services), lambda: experiments.trash(services, run),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            act()
        assert caught.value.code == "server_read_only"


def test_the_trash_gives_back_and_is_emptied(services: Services, add: Add) -> None:
    gone, back, waiting = add("gone"), add("back"), add("waiting", status="queued")
    for run in (gone, back):
        experiments.trash(services, run)
    with pytest.raises(UserError) as caught:
        experiments.trash(services, waiting)
    assert caught.value.code == "run_still_active"
    assert {e.name for e in experiments.trashed(services)} == {"gone", "back"}
    experiments.restore(services, back)
    assert experiments.trashed_count(services) == 1
    experiments.empty_trash(services)
    assert experiments.trashed_count(services) == 0
    with pytest.raises(UserError) as caught:
        experiments.restore(services, gone)
    assert caught.value.code == "run_unknown"
    assert {r.name for r in experiments.table(services)} == {"back", "waiting"}


def test_a_family_is_told_from_its_first_run_to_what_was_made(services: Services, add: Add, tmp_path: Path) -> None:
    first = add("first")
    second = add("second", begin=first)
    third = add("third", continued_from=second)
    with AdapterStore(services.data_dir).staging() as staged:
        (staged / "adapter").mkdir()
        AdapterStore(services.data_dir).add(staged, "both", "fused", "demo", tmp_path, {"parents": {}, "adapters": [{"run": second}]})
    rows = experiments.table(services)
    family = run_family.family_of(services, next(r for r in rows if r.id == second), rows)
    assert [(r.kind, r.name, r.depth) for r in family.before] == [("begun", "first", 0)]
    assert [(r.kind, r.name, r.depth) for r in family.after] == [("continued", "third", 2), ("fused", "both", 2)]
    family = run_family.family_of(services, next(r for r in rows if r.id == third), rows)
    assert [(r.kind, r.id, r.depth) for r in family.before] == [("begun", first, 0), ("continued", second, 1)]


def test_a_lost_parent_is_named_and_a_circle_ends(services: Services, add: Add) -> None:
    orphan = add("orphan", continued_from="20200101-000000-abcdef")
    here = add("here")
    there = add("there", continued_from=here)
    services.store.change(services.store.get(here), continued_from=there)
    rows = experiments.table(services)
    (parent,) = run_family.family_of(services, next(r for r in rows if r.id == orphan), rows).before
    assert (parent.name, parent.present) == ("20200101-000000-abcdef", False)
    assert [r.id for r in run_family.family_of(services, next(r for r in rows if r.id == here), rows).before] == [there]


def test_a_running_run_shows_what_its_curves_tell_now(services: Services, add: Add) -> None:
    run = add("going on", status="running")
    services.store.folder(run).metrics.write_bytes(b'{"step": 1, "train_loss": 3.0, "elapsed_seconds": 2.0}\n')
    (row,) = experiments.table(services)
    assert (row.final_loss, row.sparkline, row.duration_seconds, row.steps) == (3.0, [3.0], 2.0, 1)
    with services.store.folder(run).metrics.open("ab") as stream:
        stream.write(b'{"step": 2, "train_loss": 2.5, "val_loss": 2.75}\n')
    (row,) = experiments.table(services)
    assert (row.final_loss, row.sparkline, row.best_val_loss) == (2.5, [3.0, 2.5], 2.75)


def test_each_person_keeps_columns(services: Services) -> None:
    aki, ben = (services.of(Person(name, VIEWER)) for name in ("aki", "ben"))
    assert experiment_views.read(aki).columns == experiment_search.DEFAULT_COLUMNS
    experiment_views.keep(aki, experiment_views.ExperimentView(("name", "settings.learning_rate"), 250))
    experiment_views.keep(ben, experiment_views.ExperimentView(("id",), 50))
    assert experiment_views.read(aki) == experiment_views.ExperimentView(("name", "settings.learning_rate"), 250)
    assert experiment_views.read(ben).columns == ("id",)
    for broken in (b"[", b"[]", b'{"aki": 3}', b'{"aki": {"experiments": {"columns": [3], "page_rows": 7}}}'):
        (services.data_dir / "views.json").write_bytes(broken)
        assert experiment_views.read(aki) == experiment_views.ExperimentView()


def test_home_counts_what_waits_and_rests(services: Services, add: Add) -> None:
    for status in ("queued", "queued", "paused", "completed"):
        add(status, status=status)
    found = home.overview(services)
    assert (found.queued, found.paused, len(found.recent), found.active) == (2, 1, 4, None)


def test_the_trash_calls_a_run_what_people_called_it(services: Services, add: Add) -> None:
    plain, renamed = add("plain"), add("as it began")
    experiments.rename(services, renamed, "the good one")
    for run in (plain, renamed):
        experiments.trash(services, run)
    assert {each.id: each.name for each in experiments.trashed(services)} == {plain: "plain", renamed: "the good one"}


def test_values_that_are_not_there_come_last_in_any_order_of_words() -> None:
    rows = [row(0, owner=""), row(1, owner="Ｂｅｎ"), row(2, owner="aki"), row(3, tags=())]
    assert ids(find(rows, RunQuery(order="owner", ascending=True))) == ["run-2", "run-1", "run-0", "run-3"]
    assert ids(find(rows, RunQuery(order="owner"))) == ["run-1", "run-2", "run-0", "run-3"]
