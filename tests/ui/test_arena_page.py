"""The Arena page: empty, with votes, and while a round waits for its vote: then nothing on the page names anybody."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from tests.arena_votes import cast, make_round, open_arena
from tests.ui.conftest import everything_visible
from tests.ui.test_pages import assert_healthy
from tunesmith.i18n.catalog import t
from tunesmith.services import adapters, arena, prompt_sets
from tunesmith.services.context import Services
from tunesmith.store.votes import ArenaRecord

OpenPage = Callable[..., AppTest]
NAMES = ("ZEBRA one", "QUAGGA two", "OKAPI three")


@pytest.fixture
def record(services: Services) -> ArenaRecord:
    return open_arena(services, *NAMES, at_once=3)


def press(app: AppTest, key: str, **values: object) -> AppTest:
    return next(button for button in app.button if button.label == t(key, **values)).click().run()


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_a_waiting_round_names_nobody(open_page: OpenPage, services: Services, record: ArenaRecord, lang: str) -> None:
    cast(services, make_round(record), arena.TIE)  # standings that must stay hidden
    app = open_page("arena", lang)
    app.session_state["arena_round"] = make_round(record, texts=["first text", "second text", "third text"])
    app.run()
    assert_healthy(app)
    drawn = repr(app.main) + repr(app.sidebar) + "".join(everything_visible(app))
    assert "second text" in drawn
    for name in (*NAMES, *record.variants, *(key.partition(":")[2] for key in record.variants)):
        assert name not in drawn
    assert "tokens/s" not in drawn
    assert "トークン/秒" not in drawn
    labels = [button.label for button in app.button]
    for key in ("tie", "bad_many", "skip"):
        assert t(f"arena.{key}", lang) in labels


def test_a_vote_reveals_and_can_be_taken_back(open_page: OpenPage, services: Services, record: ArenaRecord) -> None:
    app = open_page("arena")
    app.text_input(key="arena_person").set_value(" Mai ").run()
    waiting = make_round(record)
    app.session_state["arena_round"] = waiting
    app.run()
    press(app, "arena.best_many", letter="B")
    assert_healthy(app)
    (ballot,) = arena.read_ballots(services, record.id)[0]
    assert (ballot.round, ballot.choice, ballot.best, ballot.person) == (waiting, "best", 1, "Mai")
    shown = " ".join(caption.value for caption in app.caption)
    place = [shown.index(record.variants[key]) for key in waiting.shown]
    assert place == sorted(place)
    assert "14 tokens/s" in shown
    press(app, "arena.take_back")
    assert_healthy(app)
    assert arena.read_ballots(services, record.id)[0] == []
    assert app.text_area(key="arena_prompt")
    assert app.text_input(key="arena_person").value == " Mai "


def test_none_of_the_same_answers_is_better(open_page: OpenPage, record: ArenaRecord) -> None:
    app = open_page("arena")
    app.session_state["arena_round"] = make_round(record, texts=["same", "same ", "same"])
    app.run()
    assert any(t("arena.all_same") in caption.value for caption in app.caption)
    offered = {button.label for button in app.button if not button.disabled}
    assert t("arena.tie") in offered
    assert t("arena.best_many", letter="A") not in offered


def test_a_skipped_round_leaves_no_vote(open_page: OpenPage, services: Services, record: ArenaRecord) -> None:
    app = open_page("arena")
    app.session_state["arena_round"] = make_round(record)
    app.run()
    press(app, "arena.skip")
    assert_healthy(app)
    assert arena.read_ballots(services, record.id)[0] == []
    assert not any(name in repr(app.main) for name in NAMES)


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_standings_say_what_the_votes_say(open_page: OpenPage, services: Services, lang: str) -> None:
    record = open_arena(services, *NAMES[:2])
    first, second = record.variants
    for number in range(14):
        cast(services, make_round(record, (second, first), prompt=f"question {number}"), first if number % 7 else arena.TIE, "Mai")
    with (services.data_dir / "arena" / record.id / "votes.jsonl").open("ab") as log:
        log.write(b"not a vote\n")
    app = open_page("arena", lang, view="standings")
    assert_healthy(app)
    assert not app.error
    verdict = app.success[0].value
    assert all(words in verdict for words in (NAMES[0], NAMES[1], "93%", "14"))
    assert t("arena.broken_lines", lang, count="1") in [warning.value for warning in app.warning]
    assert any(t("arena.note_one_person", lang) in caption.value for caption in app.caption)
    table = app.dataframe[0].value
    assert list(table["Elo"]) == sorted(table["Elo"], reverse=True)
    words = " ".join(markdown.value for markdown in app.markdown)
    assert t("arena.pairs", lang, count="1") not in words
    assert t("arena.pairs", lang, count="12") in words


def test_too_few_votes_are_told(open_page: OpenPage, services: Services) -> None:
    record = open_arena(services, *NAMES[:2])
    first, _ = record.variants
    app = open_page("arena", view="standings")
    assert t("arena.no_votes") in [info.value for info in app.info]
    cast(services, make_round(record), first)
    app.run()
    assert_healthy(app)
    assert "not yet enough to tell" in app.info[0].value
    cast(services, make_round(record), first)
    app.run()
    assert t("arena.duel_few", needed="6", decided="2") in app.info[0].value


def test_a_data_sets_questions_are_counted_down(open_page: OpenPage, services: Services, record: ArenaRecord) -> None:
    prompts = arena.prompts_of(services, "company_facts")
    cast(services, make_round(record, prompt=prompts[0]), arena.TIE, "")
    app = open_page("arena")
    app.segmented_control(key=f"arena_source-{record.id}").set_value("data").run()
    app.selectbox(key=f"arena_data-{record.id}").set_value("company_facts").run()
    assert_healthy(app)
    words = t("arena.left", left=str(len(prompts) - 1), all=str(len(prompts)))
    assert words in [caption.value for caption in app.caption]


def test_a_prompt_sets_questions_are_asked_too(open_page: OpenPage, services: Services, record: ArenaRecord) -> None:
    assert len(open_page("arena").segmented_control(key=f"arena_source-{record.id}").options) == 2
    prompt_sets.save(services, "三つ", ["one?", "two?", "three?"])
    app = open_page("arena")
    app.segmented_control(key=f"arena_source-{record.id}").set_value("set").run()
    assert_healthy(app)
    assert t("arena.left", left="3", all="3") in [caption.value for caption in app.caption]


def test_names_are_no_markdown(open_page: OpenPage, services: Services) -> None:
    record = open_arena(services, "*a* [b](http://c.invalid)", "_d_ e_f")
    first, _ = record.variants
    cast(services, make_round(record), first)
    app = open_page("arena", view="standings")
    assert_healthy(app)
    assert r"**\*a\* \[b\](http://c.invalid)**" in app.info[0].value
    assert any(r"\_d\_ e_f" in caption.value for caption in app.caption)


def test_the_sets_that_prompts_came_from_may_go(open_page: OpenPage, services: Services, record: ArenaRecord) -> None:
    made = prompt_sets.save(services, "三つ", ["one?"])
    app = open_page("arena")
    app.segmented_control(key=f"arena_source-{record.id}").set_value("set").run()
    prompt_sets.delete(services, made.id)
    app.run()
    assert_healthy(app)
    assert app.text_area(key="arena_prompt")


def test_too_few_that_are_left_are_worded(open_page: OpenPage, services: Services, record: ArenaRecord) -> None:
    for key in list(record.variants)[1:]:
        adapters.trash(services, adapters.find_adapter(services, key.partition(":")[2]))
    app = open_page("arena")
    app.text_area(key="arena_prompt").set_value("Who?")
    press(app, "arena.ask")
    assert_healthy(app)
    assert [error.value for error in app.error] == [t("error.arena_variants_gone", name=record.name, left=1, least=2)]


def test_an_arena_is_opened_on_the_page(open_page: OpenPage, services: Services) -> None:
    record = open_arena(services, *NAMES)
    arena.trash(services, record.id)
    app = open_page("arena")
    app.text_input(key="arena_new_name").set_value("数の対決").run()
    app.multiselect(key="arena_new_variants").set_value(list(record.variants)).run()
    assert app.number_input(key="arena_new_at_once-3").value == 3
    app.number_input(key="arena_new_at_once-3").set_value(2).run()
    press(app, "arena.create")
    assert_healthy(app)
    (made,), _ = arena.list_arenas(services)
    assert (made.name, made.variants, made.at_once) == ("数の対決", record.variants, 2)
    assert app.text_area(key="arena_prompt")
