"""Arenas: who takes part, votes of many at once, votes taken back, strengths that the voters really had, pairs to learn from."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.arena_votes import cast, make_round, open_arena
from tunesmith.errors import UserError
from tunesmith.inference.sampling import Sampling
from tunesmith.services import adapters, arena, arena_results, datasets
from tunesmith.services.context import Services, build_services
from tunesmith.services.variants import find_variant
from tunesmith.store.votes import VOTES


@pytest.fixture
def services(data_dir: object) -> Iterator[Services]:
    built = build_services()
    yield built
    built.close()


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return caught.value.code


def test_an_arena_is_opened_renamed_deleted_and_brought_back(services: Services) -> None:
    record = open_arena(services, "one", "two")
    arena.rename(services, record.id, "  other   name ")
    (found,), broken = arena.list_arenas(services)
    assert (found.name, list(found.variants.values()), found.at_once, broken) == ("other name", ["one", "two"], 2, [])
    assert found.sampling["max_tokens"] == Sampling().max_tokens
    arena.trash(services, record.id)
    assert arena.list_arenas(services) == ([], [])
    assert code_of(lambda: cast(services, make_round(record), arena.TIE)) == "arena_unknown"
    arena.restore(services, record.id)
    (services.data_dir / "arena" / "torn").mkdir()
    (services.data_dir / "arena/torn/arena.json").write_bytes(b"{")
    found_now, broken = arena.list_arenas(services)
    assert ([each.id for each in found_now], broken) == ([record.id], ["torn"])


def test_what_is_no_arena_is_refused(services: Services) -> None:
    base = find_variant(services, "model:demo")
    assert code_of(lambda: arena.create(services, "x", [base, base], 2, "", Sampling())) == "arena_variants"
    record = open_arena(services, "one", "two", "three", at_once=3)
    three = [find_variant(services, key) for key in record.variants]
    for at_once in (1, 4):
        assert code_of(lambda at_once=at_once: arena.create(services, "x", three, at_once, "", Sampling())) == "arena_at_once"
    assert code_of(lambda: arena.create(services, "  ", three, 2, "", Sampling())) == "name_empty"
    assert code_of(lambda: arena.ask(services, record.id, "  ")) == "prompt_empty"
    assert code_of(lambda: arena.ask(services, "../x", "Hi")) == "name_not_allowed"
    for choice, best in (("best", None), ("best", 3), ("tie", 0), ("left", None)):
        assert code_of(lambda choice=choice, best=best: arena.vote(services, make_round(record), choice, best)) == "arena_choice"
    assert arena.read_ballots(services, record.id) == ([], 0)


def test_who_was_deleted_answers_no_more(services: Services) -> None:
    record = open_arena(services, "one", "two", "three", at_once=3)
    first, *others = record.variants
    adapters.trash(services, adapters.find_adapter(services, first.partition(":")[2]))
    there = list(arena.find_available(services, record))
    assert there == others
    assert {arena.draw_shown(record, there) for _ in range(40)} == {tuple(others), tuple(reversed(others))}
    adapters.trash(services, adapters.find_adapter(services, others[0].partition(":")[2]))
    assert code_of(lambda: arena.ask(services, record.id, "Hi")) == "arena_variants_gone"


def test_every_order_is_as_likely(services: Services) -> None:
    record = open_arena(services, "one", "two", "three", at_once=2)
    orders = Counter(arena.draw_shown(record, list(record.variants)) for _ in range(1200))
    assert len(orders) == 6
    assert 120 < min(orders.values()) <= max(orders.values()) < 280  # 200 each, spread 13
    whole = open_arena(services, "four", "five", "six", at_once=3)
    assert len({arena.draw_shown(whole, list(whole.variants)) for _ in range(200)}) == 6


def test_votes_of_many_at_once_are_neither_lost_nor_torn(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nearly full disk writes a part of what it is given: without turns, the lines of several voters would lie in each other."""
    record = open_arena(services, "one", "two")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:500])))
    texts = ["a long answer " * 200, "another\nanswer"]

    def vote(number: int) -> str:
        return cast(services, make_round(record, texts=texts), arena.TIE, f"person {number % 8}").id

    with ThreadPoolExecutor(8) as people:
        ids = list(people.map(vote, range(64)))
    ballots, broken = arena.read_ballots(services, record.id)
    assert broken == 0
    assert sorted(ballot.id for ballot in ballots) == sorted(ids)
    assert {ballot.round.answers[0].text for ballot in ballots} == {texts[0]}
    assert Counter(ballot.person for ballot in ballots) == {f"person {n}": 8 for n in range(8)}


def test_a_torn_line_spoils_no_other(services: Services) -> None:
    record = open_arena(services, "one", "two")
    first = cast(services, make_round(record), arena.TIE)
    with (services.data_dir / "arena" / record.id / VOTES).open("ab") as log:
        log.write(b'{"v": 1, "round": {"id')
    second = cast(services, make_round(record), arena.ALL_BAD)
    ballots, broken = arena.read_ballots(services, record.id)
    assert ([ballot.id for ballot in ballots], broken) == ([first.id, second.id], 1)
    assert ballots[0] == first


def test_a_vote_is_taken_back_by_whoever_cast_it(services: Services) -> None:
    record = open_arena(services, "one", "two")
    one, two = record.variants
    cast(services, make_round(record), one)
    slip = cast(services, make_round(record), two, " Mai ")
    assert code_of(lambda: arena.retract(services, slip, "Ken")) == "arena_vote_of_another"
    assert len(arena.read_ballots(services, record.id)[0]) == 2
    arena.retract(services, slip, "Mai")
    ballots, broken = arena.read_ballots(services, record.id)
    assert (len(ballots), broken) == (1, 0)
    standings = arena_results.find_standings(ballots)
    assert [(each.name, each.wins) for each in standings.ratings.ratings] == [(one, 1), (two, 0)]


def test_a_choice_among_three_as_votes_between_two(services: Services) -> None:
    record = open_arena(services, "one", "two", "three", at_once=3)
    one, two, three = record.variants
    best = cast(services, make_round(record, (one, two, three)), two)
    assert [(v.left, v.right, v.outcome) for v in arena.votes_of([best])] == [(one, two, "right"), (two, three, "left")]
    assert {v.ballot for v in arena.votes_of([best])} == {best.id}
    alike = cast(services, make_round(record, (one, two, three), ["x", "y", "x "]), three)
    assert [(v.left, v.right, v.outcome) for v in arena.votes_of([alike])] == [(one, three, "tie"), (two, three, "right")]
    bad = cast(services, make_round(record, (one, two, three)), arena.ALL_BAD)
    assert [(v.left, v.right, v.outcome) for v in arena.votes_of([bad])] == [
        (one, two, "both_bad"), (one, three, "both_bad"), (two, three, "both_bad"),
    ]  # fmt: skip


@pytest.mark.parametrize(("at_once", "rounds"), [(2, 400), (3, 300)])
def test_voters_with_known_strengths_are_found_out(services: Services, at_once: int, rounds: int) -> None:
    """Voters whose odds are 6 : 3 : 1 : 0.5, through the service's own order, file and ratings."""
    record = open_arena(services, "third", "first", "last", "second", at_once=at_once)
    odds = dict(zip(record.variants, (1.0, 6.0, 0.5, 3.0), strict=True))
    chance = random.Random(at_once)
    for number in range(rounds):
        of = make_round(record, arena.draw_shown(record, list(record.variants), chance))
        winner = arena.TIE if number % 12 == 0 else chance.choices(of.shown, [odds[key] for key in of.shown])[0]
        cast(services, of, winner, f"voter {number % 5}")
    ballots, _ = arena.read_ballots(services, record.id)
    standings = arena_results.find_standings(ballots)
    ranked = standings.ratings.ratings
    assert [record.variants[each.name] for each in ranked] == ["first", "second", "third", "last"]
    for each in ranked:
        assert each.low is not None
        assert each.high is not None
        assert each.low < each.elo < each.high
    assert [record.variants[duel.right] for duel in standings.duels] == ["second", "third", "last"]
    assert [duel.decision.verdict for duel in standings.duels[1:]] == ["better", "better"]
    assert sum(counted.total() for counted in standings.persons.values()) == standings.ballots == rounds
    assert standings.ratings.groups == [[each.name for each in ranked]]


def test_few_votes_are_not_enough_to_tell(services: Services) -> None:
    record = open_arena(services, "one", "two")
    one, two = record.variants
    for _ in range(5):
        cast(services, make_round(record), one)
    (duel,) = arena_results.find_standings(arena.read_ballots(services, record.id)[0]).duels
    assert (duel.left, duel.rate.mean, duel.decision.verdict, duel.decision.reason) == (one, 1.0, "not_shown", "too_few_differ")
    cast(services, make_round(record), one)  # 2 / 2⁶ = 0.031 is below 5 %
    standings = arena_results.find_standings(arena.read_ballots(services, record.id)[0])
    assert standings.duels[0].decision.verdict == "better"
    assert (standings.ratings.unbeaten, standings.ratings.winless) == ([one], [two])


def test_prompts_are_drawn_once_per_person(services: Services) -> None:
    record = open_arena(services, "one", "two")
    prompts = arena.prompts_of(services, "company_facts")
    assert len(prompts) > 3
    cast(services, make_round(record, prompt=prompts[0]), arena.TIE, "Mai")
    ballots, _ = arena.read_ballots(services, record.id)
    assert arena.open_prompts(prompts, ballots, " Mai") == prompts[1:]
    assert arena.open_prompts(prompts, ballots, "Ken") == prompts
    assert len({arena.draw_prompt(prompts, ballots, "Ken") for _ in range(200)}) > 3
    assert arena.draw_prompt(prompts[:1], ballots, "Mai") is None


def test_pairs_to_learn_from(services: Services) -> None:
    record = open_arena(services, "one", "two", "three", at_once=3, system="Be brief.")
    one, two, three = record.variants
    cast(services, make_round(record, (one, two, three), ["good", "bad", "bad"], "P"), one)  # the second pair is the same
    cast(services, make_round(record, (three, one, two), ["same", "same", ""], "Q"), three)
    cast(services, make_round(record, (one, two, three), ["a", "b", "c"], "R"), arena.TIE)
    cast(services, make_round(record, (one, two), ["a", "b"], "R"), arena.ALL_BAD)
    for winner in (one, two, one):
        cast(services, make_round(record, (one, two), ["x", "y"], "S"), winner)
    for winner in (one, two):
        cast(services, make_round(record, (one, two), ["x", "y"], "T"), winner)
    found = arena_results.find_preferences(arena.read_ballots(services, record.id)[0])
    assert found.rows == [
        {"prompt": "P", "chosen": "good", "rejected": "bad", "system": "Be brief."},
        {"prompt": "S", "chosen": "x", "rejected": "y", "system": "Be brief."},
    ]
    assert found.left_out == {"tie": 3, "both_bad": 1, "same_text": 1, "empty": 1, "contradicted": 1 + 2, "repeated": 1 + 1}
    made = arena_results.keep_preferences(services, record.id, "liked")
    summary = datasets.summarise(datasets.find_dataset(services, made))
    assert (made, summary.rows, summary.kinds, summary.errors) == ("liked", {"train": 2}, {"preference": 2}, 0)
    assert "dpo" in summary.methods
    assert datasets.row_value(services, made, "train", 1) == found.rows[1]
    assert not list((services.data_dir / "uploads").iterdir())


def test_without_a_winner_there_is_nothing_to_learn(services: Services) -> None:
    record = open_arena(services, "one", "two")
    cast(services, make_round(record), arena.TIE)
    assert code_of(lambda: arena_results.keep_preferences(services, record.id, "x")) == "arena_no_preferences"
    assert [each.id for each in datasets.all_datasets(services) if not each.shipped] == []
