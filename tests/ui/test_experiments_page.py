"""The list of experiments as a page: columns, search, filters, pages, labels; the same with and without its cache."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.drawn_runs import draw_store
from tests.ui.conftest import add_run
from tunesmith.access.people import TRAINER, Person
from tunesmith.i18n.catalog import t
from tunesmith.services import experiment_search, experiments, queue
from tunesmith.services.context import Services
from tunesmith.services.run_colours import run_colour
from tunesmith.services.run_family import Relative
from tunesmith.ui import experiment_trash, session
from tunesmith.ui.experiment_card import ICONS, place_of

OpenPage = Callable[..., AppTest]
Q, ORDER, COLUMNS, COLOUR = "experiments-q", "experiments-order", "experiments-columns", "colour"


def table_of(app: AppTest) -> pd.DataFrame:
    assert not app.exception
    frame: pd.DataFrame = app.dataframe[0].value
    return frame


def names(app: AppTest) -> list[str]:
    return list(table_of(app)["name"])


@pytest.fixture
def three(services: Services) -> list[str]:
    runs = [add_run(services, "completed", name="sums, first"), add_run(services, "failed", name="sums, second")]
    runs += [add_run(services, "queued", name="facts", owner="aki", group="sweep-1")]
    experiments.change_tags(services, [runs[0].id], ["keep"])
    experiments.set_favourite(services, [runs[0].id], True)
    experiments.set_notes(services, runs[1].id, "too **hot**")
    return [run.id for run in runs]


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_every_column_is_drawn(open_page: OpenPage, services: Services, three: list[str], lang: str) -> None:
    app = open_page("experiments", lang)
    assert list(table_of(app).columns) == [COLOUR, *experiment_search.DEFAULT_COLUMNS]
    columns = experiment_search.columns_of(experiments.table(services))
    app.multiselect(key=COLUMNS).set_value(columns).run()
    frame = table_of(app)
    assert list(frame.columns) == [COLOUR, *columns]
    assert set(frame["settings.lora_parameters.rank"]) == {8}
    assert "aki" in set(frame["owner"])
    assert t("experiments.totals", lang, n="3", total="3") in [m.value for m in app.markdown]


def test_the_columns_are_kept_for_the_next_session(open_page: OpenPage, three: list[str]) -> None:
    open_page("experiments").multiselect(key=COLUMNS).set_value(["name", "settings.learning_rate"]).run()
    assert list(table_of(open_page("experiments")).columns) == [COLOUR, "name", "settings.learning_rate"]


def test_each_run_has_its_own_colour_in_the_table(open_page: OpenPage, services: Services, three: list[str]) -> None:
    pictures = table_of(open_page("experiments", order="name", up="1"))[COLOUR]
    in_order = [three[2], three[0], three[1]]
    assert [re.findall("fill='%23([0-9a-f]{6})'", picture) for picture in pictures] == [[run_colour(run)[1:]] for run in in_order]


def test_the_address_leads_and_follows(open_page: OpenPage, three: list[str]) -> None:
    app = open_page("experiments", q="sums", status="failed")
    assert names(app) == ["sums, second"]
    assert app.text_input(key=Q).value == "sums"
    app.text_input(key=Q).set_value("HOT").run()
    assert names(app) == ["sums, second"]
    assert (app.query_params["q"], app.query_params["status"]) == ("HOT", "failed")
    app.multiselect(key="experiments-status").set_value([]).run()
    app.text_input(key=Q).set_value("").run()
    app.toggle(key="experiments-up").set_value(True).run()
    app.selectbox(key=ORDER).set_value("name").run()
    assert names(app) == ["facts", "sums, first", "sums, second"]
    assert {k: v for k, v in app.query_params.items() if k != "lang"} == {"order": "name", "up": "1"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"starred": "1"}, ["sums, first"]), ({"tag": "keep"}, ["sums, first"]), ({"owner": "aki"}, ["facts"]),
        ({"group": "sweep-1"}, ["facts"]), ({"days": "7", "order": "name", "up": "1"}, ["facts", "sums, first", "sums, second"]),
        ({"status": "dancing", "days": "x", "order": "nothing", "starred": "yes"}, ["facts", "sums, second", "sums, first"]),
    ],
)  # fmt: skip
def test_a_link_can_be_shared(open_page: OpenPage, three: list[str], query: dict[str, str], found: list[str]) -> None:
    for lang in ("en", "ja"):
        assert names(open_page("experiments", lang, **query)) == found


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_nothing_found_says_so_and_shows_all_again(open_page: OpenPage, three: list[str], lang: str) -> None:
    app = open_page("experiments", lang, q="zzz")
    assert [i.value for i in app.info] == [t("experiments.nothing_found", lang, total="3")]
    app.button(key="clear-empty").click().run()
    assert len(names(app)) == 3
    assert "q" not in app.query_params


def test_a_page_holds_so_many_rows(open_page: OpenPage, services: Services, data_dir: Path) -> None:
    draw_store(data_dir, 130)
    app = open_page("experiments")
    assert len(names(app)) == 100
    app.session_state["experiments-rows"] = 250
    app.run()
    assert len(names(app)) == 130


def test_a_deleted_cache_gives_the_same_page(open_page: OpenPage, services: Services, data_dir: Path) -> None:
    draw_store(data_dir, 130)
    query = {"order": "final_loss", "status": "completed"}
    before = open_page("experiments", **query)
    cache = data_dir / "cache"
    assert list(cache.iterdir())
    shutil.rmtree(cache)
    services.store.__init__(data_dir)  # type: ignore[misc]  # as a fresh process would
    after = open_page("experiments", **query)
    pd.testing.assert_frame_equal(table_of(after), table_of(before))
    assert [m.value for m in after.markdown] == [m.value for m in before.markdown]
    assert list(cache.iterdir())


def test_a_group_is_one_line(open_page: OpenPage, services: Services, three: list[str]) -> None:
    experiments.set_group(services, three[:2], "pair")
    app = open_page("experiments", groups="1", order="name", up="1")
    frame = table_of(app)
    assert list(zip(frame["name"], frame["runs"], strict=True)) == [("facts", 1), ("sums, first", 2)]
    assert t("experiments.totals", n="3", total="3") in [m.value for m in app.markdown]


def _draw_card_of(run_id: str) -> None:
    from tunesmith.services import experiments
    from tunesmith.ui.experiment_card import draw_card
    from tunesmith.ui.session import services

    rows = experiments.table(services())
    draw_card(next(row for row in rows if row.id == run_id), rows, ["keep"])


def _draw_actions_of(run_ids: list[str]) -> None:
    from tunesmith.services import experiments
    from tunesmith.ui.experiment_actions import draw_actions, draw_problem
    from tunesmith.ui.session import services

    draw_problem()
    rows = experiments.table(services())
    draw_actions([row for row in rows if row.id in run_ids], ["keep"])


def label(app: AppTest, key: str, lang: str = "en", **values: object) -> object:
    return next(b for b in app.button if b.label == t(key, lang, **values))


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_one_run_is_labelled(services: Services, three: list[str], lang: str) -> None:
    run_id = three[1]
    add_run(services, "completed", name="went on", continued_from=run_id)
    app = AppTest.from_function(_draw_card_of, args=(run_id,), default_timeout=60)
    app.session_state["language"] = lang
    app.run()
    assert not app.exception
    assert "too **hot**" in [m.value for m in app.markdown]
    assert any(b.label == "went on" for b in app.button)
    app.multiselect(key=f"tags-{run_id}").set_value(["keep"]).run()
    app.text_input(key=f"group-{run_id}").set_value(" mine ").run()
    app.text_area(key=f"notes-{run_id}").set_value("- a list").run()
    app.button(key=f"save-notes-{run_id}").click().run()
    label(app, "experiments.star", lang).click().run()  # type: ignore[attr-defined]
    assert not app.exception
    told = services.store.find(run_id)
    assert (told.tags, told.group, told.notes, told.favourite) == (("keep",), "mine", "- a list", True)
    app.multiselect(key=f"tags-{run_id}").set_value([str(n) for n in range(30)]).run()
    assert [e.value for e in app.error] == [t("error.tags_too_many", lang, most=20)]


def test_what_another_person_wrote_meanwhile_stays(services: Services, three: list[str]) -> None:
    run_id = three[1]
    app = AppTest.from_function(_draw_card_of, args=(run_id,), default_timeout=60).run()
    experiments.change_tags(services, [run_id], ["theirs"], services.store.find(run_id).tags)
    experiments.set_group(services, [run_id], "theirs")
    experiments.set_notes(services, run_id, "theirs")
    app.run()  # only a look
    told = services.store.find(run_id)
    assert (told.tags, told.group, told.notes) == (("theirs",), "theirs", "theirs")
    assert (app.multiselect(key=f"tags-{run_id}").value, app.text_area(key=f"notes-{run_id}").value) == (["theirs"], "theirs")
    assert app.text_input(key=f"group-{run_id}").value == "theirs"
    experiments.change_tags(services, [run_id], ["later"])
    app.multiselect(key=f"tags-{run_id}").set_value(["theirs", "mine"]).run()
    assert set(services.store.find(run_id).tags) == {"theirs", "later", "mine"}
    app.text_area(key=f"notes-{run_id}").set_value("mine").run()
    experiments.set_notes(services, run_id, "theirs again")
    app.button(key=f"save-notes-{run_id}").click().run()
    assert (services.store.find(run_id).notes, [w.value for w in app.warning]) == ("theirs again", [t("experiments.notes_changed")])
    app.button(key=f"save-notes-{run_id}").click().run()
    assert services.store.find(run_id).notes == "mine"


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_many_runs_are_labelled_at_once(services: Services, three: list[str], lang: str) -> None:
    app = AppTest.from_function(_draw_actions_of, args=(three,), default_timeout=60)
    app.session_state["language"] = lang
    app.run()
    assert not app.exception
    assert f"**{t('experiments.selected', lang, n=3)}**" in [m.value for m in app.markdown]
    label(app, "experiments.star", lang).click().run()  # type: ignore[attr-defined]
    next(m for m in app.multiselect if m.label == t("experiments.tags_add", lang)).set_value(["keep", "new"]).run()
    app.button(key="apply-tags").click().run()
    app.text_input[0].set_value("together").run()
    app.button(key="apply-group").click().run()
    assert not app.exception
    told = [services.store.find(run_id) for run_id in three]
    assert [(r.favourite, set(r.tags), r.group) for r in told] == [(True, {"keep", "new"}, "together")] * 3
    assert any(b.label == t("experiments.unstar", lang) for b in app.button)


def test_one_bad_run_does_not_keep_the_others(services: Services, three: list[str]) -> None:
    experiments.change_tags(services, [three[0]], [str(n) for n in range(20)], ["keep"])
    app = AppTest.from_function(_draw_actions_of, args=(three,), default_timeout=60)
    app.run()
    next(m for m in app.multiselect if m.label == t("experiments.tags_add")).set_value(["new"]).run()
    app.button(key="apply-tags").click().run()
    assert [e.value for e in app.error] == [t("error.tags_too_many", most=20)]
    assert ["new" in services.store.find(run_id).tags for run_id in three] == [False, True, True]


def test_an_undo_brings_all_back(open_page: OpenPage, services: Services, three: list[str]) -> None:
    app = open_page("experiments")
    for run_id in three[:2]:
        experiments.trash(services, run_id)
    app.session_state["trashed"] = [(run_id, "x") for run_id in three[:2]]
    app.run()
    assert t("experiments.trashed_many", n=2) in [i.value for i in app.info]
    assert names(app) == ["facts"]
    label(app, "common.undo").click().run()  # type: ignore[attr-defined]
    assert len(names(app)) == 3
    assert services.store.trashed() == []


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_the_trash_opens(open_page: OpenPage, services: Services, three: list[str], lang: str) -> None:
    experiments.trash(services, three[0])
    app = open_page("experiments", lang)
    assert t("experiments.trash_count", lang, n=1) in [e.label for e in app.expander]
    app.session_state["experiments-trash"] = True
    app.run()
    assert any("sums, first" in m.value for m in app.markdown)
    label(app, "experiments.restore_all", lang).click().run()  # type: ignore[attr-defined]
    assert len(names(app)) == 3


def _draw_trashed() -> None:
    from tunesmith.ui.experiment_trash import _draw_trashed
    from tunesmith.ui.messages import show_toasts

    _draw_trashed()
    show_toasts()


@pytest.mark.parametrize(
    ("owners", "asked_of", "key"),
    [(("Ann", "Bob"), [1], "trash_cleared_own"), (("Bob", "Bob"), [2], "trash_cleared"), (("Ann", "Ann"), [], "")],
)
def test_what_the_emptied_trash_holds_is_told(
    services: Services, monkeypatch: pytest.MonkeyPatch, owners: tuple[str, ...], asked_of: list[int], key: str
) -> None:
    for owner in owners:
        experiments.trash(services, add_run(services, "completed", owner=owner).id)
    monkeypatch.setattr(session, "person", lambda: Person("Bob", TRAINER))
    questions: list[str] = []

    def ask(question: str, act: Callable[[], object]) -> None:
        questions.append(question)
        act()

    monkeypatch.setattr(experiment_trash, "ask_delete", ask)
    app = AppTest.from_function(_draw_trashed, default_timeout=60).run()
    (empty,) = [button for button in app.button if button.label == t("experiments.trash_clear")]
    assert empty.disabled == (not asked_of)
    if asked_of:
        empty.click().run()
        assert [each.value for each in app.toast] == [t(f"experiments.{key}", n=1)]
    assert questions == [t("experiments.trash_clear_ask", n=n) for n in asked_of]
    assert experiments.trashed_count(services) == owners.count("Ann")


def test_what_nobody_can_read_leaves_the_trash_too(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    run = add_run(services, "completed", owner="Bob")
    experiments.trash(services, run.id)
    (services.store.trash_folder / run.id / "experiment.json").write_text("{")
    monkeypatch.setattr(session, "person", lambda: Person("Bob", TRAINER))
    app = AppTest.from_function(_draw_trashed, default_timeout=60).run()
    (empty,) = [button for button in app.button if button.label == t("experiments.trash_clear")]
    assert not empty.disabled


@pytest.mark.parametrize(
    ("active", "quiet", "key"), [(0, False, "none_waiting"), (1, False, "none_waiting_busy"), (0, True, "none_waiting_busy")]
)
def test_a_free_accelerator_alone_starts_a_run_at_once(
    services: Services, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, active: int, quiet: bool, key: str
) -> None:
    for _ in range(active):
        add_run(services, "running")
    monkeypatch.setattr(queue, "is_quiet", lambda *_: quiet)
    app = open_page("training", view="queue")
    assert not app.exception
    assert [c.value for c in app.caption if c.value in {t("queue.none_waiting"), t("queue.none_waiting_busy")}] == [t(f"queue.{key}")]


def test_of_many_runs_that_cannot_be_read_a_few_are_named(open_page: OpenPage, services: Services, three: list[str]) -> None:
    for number in range(13):
        folder = services.store.experiments / f"20260101-000000-{number:06x}"
        folder.mkdir()
        (folder / "experiment.json").write_text("{")
    app = open_page("experiments")
    assert len(names(app)) == 3
    assert sum(str(button.key).startswith("trash-") for button in app.button) == 10
    assert t("experiments.unreadable_more", n=3, folder=str(services.store.experiments)) in [c.value for c in app.caption]


def test_one_run_that_cannot_come_back_does_not_keep_the_others(open_page: OpenPage, services: Services, three: list[str]) -> None:
    app = open_page("experiments")
    for run_id in three[:2]:
        experiments.trash(services, run_id)
    shutil.rmtree(services.store.trash_folder / three[0])
    app.session_state["trashed"] = [(run_id, "x") for run_id in three[:2]]
    app.run()
    label(app, "common.undo").click().run()  # type: ignore[attr-defined]
    assert [e.value for e in app.error] == [t("error.run_unknown", run=three[0])]
    assert set(names(app)) == {"sums, second", "facts"}


def test_the_list_renews_itself_while_a_run_goes_on(open_page: OpenPage, services: Services) -> None:
    def watched() -> list[dict[str, int]]:
        drawn = [orjson.loads(element.proto.json) for element in open_page("experiments").get("bidi_component")]
        return [data["marks"] for data in drawn if data.get("address") == "/live/queue"]

    run = add_run(services, "running")
    assert watched() == [{"runs": queue.marks(queue.overview(services))["runs"]}]
    (before,) = watched()
    with services.store.folder(run.id).metrics.open("ab") as metrics:
        metrics.write(b'{"attempt":1,"step":11,"train_loss":0.2}\n')
    assert before["runs"] == queue.marks(queue.overview(services))["runs"], "a step is no reason to draw thousands of lines anew"
    services.store.transition(run, "stopping")
    assert queue.marks(queue.overview(services))["runs"] != before["runs"]
    services.store.transition(services.store.get(run.id), "cancelled")
    assert watched() == []


@pytest.mark.parametrize(
    ("kind", "page", "address"),
    [
        ("continued", "training", {"run": "it"}), ("begun", "training", {"run": "it"}), ("fused", "adapters", {}),
        ("export", "export", {"view": "made", "run": "run-1"}), ("evaluate", "evaluate", {"view": "score", "evaluation": "it"}),
        ("judge", "evaluate", {"view": "judge", "judgement": "it"}), ("benchmark", "evaluate", {"view": "benchmark"}),
    ],
)  # fmt: skip
def test_what_was_made_of_a_run_opens_where_it_is(kind: str, page: str, address: dict[str, str]) -> None:
    assert place_of(Relative(kind, "it", "its name", 1), "run-1") == (page, address)
    assert kind in ICONS
    assert all(t(f"experiments.family_{kind}", lang) for lang in ("en", "ja"))
