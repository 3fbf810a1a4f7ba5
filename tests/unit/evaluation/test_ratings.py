"""Strengths from votes: by hand, in the cases that have no likeliest strength, and from voters whose strengths are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tunesmith.evaluation.intervals import IntervalRules
from tunesmith.evaluation.ratings import Ratings, Vote, fit_strengths, rate_votes

QUICK = IntervalRules(resamples=200)


def elo(found: Ratings) -> dict[str, float]:
    return {rating.name: rating.elo for rating in found.ratings}


def votes_of(*cells: tuple[str, str, str, int]) -> list[Vote]:
    return [Vote(left, right, outcome) for left, right, outcome, count in cells for _ in range(count)]


def test_two_variants_by_hand() -> None:
    """3 to 1 are 400 · log10(3) = 190.8 points; with 10 000 votes the drawn one weighs nothing."""
    found = rate_votes(votes_of(("a", "b", "left", 7500), ("b", "a", "left", 2500)), QUICK)
    assert [rating.name for rating in found.ratings] == ["a", "b"]
    assert elo(found)["a"] - elo(found)["b"] == pytest.approx(400 * math.log10(3), abs=0.1)
    assert elo(found)["a"] + elo(found)["b"] == pytest.approx(2000)
    first = found.ratings[0]
    assert (first.votes, first.wins, first.ties, first.losses) == (10_000, 7500, 0, 2500)
    # the logarithm of the odds spreads by 1 / √(n p q), half of it is either's distance from the average
    assert first.low is not None
    assert first.high is not None
    spread = 400 / math.log(10) / 2 / math.sqrt(10_000 * 0.75 * 0.25)
    assert (first.high - first.low) / 2 == pytest.approx(1.96 * spread, rel=0.2)


def test_the_drawn_vote_by_hand() -> None:
    """One vote: the slope 1 − σ(2s) + 0.5 − σ(s) is 0 at s = 0.7563."""
    (strengths,) = fit_strengths(np.array([[[0.0, 1.0], [0.0, 0.0]]]))
    s = strengths[0]
    assert 1 - 1 / (1 + math.exp(-2 * s)) + 0.5 - 1 / (1 + math.exp(-s)) == pytest.approx(0, abs=1e-9)
    assert s == pytest.approx(0.7563, abs=1e-4)


def test_a_tie_is_half_a_win_for_either() -> None:
    ties = rate_votes(votes_of(("a", "b", "left", 6), ("a", "b", "tie", 2), ("b", "c", "both_bad", 4), ("a", "c", "left", 3)), QUICK)
    halves = [("a", "b", "left", 7), ("a", "b", "right", 1), ("b", "c", "left", 2), ("b", "c", "right", 2), ("a", "c", "left", 3)]
    assert elo(ties) == pytest.approx(elo(rate_votes(votes_of(*halves), QUICK)), abs=1e-6)
    assert ties.outcomes == {"left": 9, "right": 0, "tie": 2, "both_bad": 4}
    assert {rating.name: (rating.wins, rating.ties, rating.losses) for rating in ties.ratings}["b"] == (0, 6, 6)


def test_a_circle_has_no_strongest() -> None:
    found = rate_votes(votes_of(("a", "b", "left", 5), ("b", "c", "left", 5), ("c", "a", "left", 5)), QUICK)
    assert list(elo(found).values()) == pytest.approx([1000] * 3)
    assert (found.groups, found.unbeaten, found.winless) == ([["a", "b", "c"]], [], [])


def test_the_matrix_of_win_rates() -> None:
    found = rate_votes(votes_of(("a", "b", "left", 3), ("b", "a", "left", 1), ("b", "c", "tie", 2)), QUICK)
    assert [rating.name for rating in found.ratings] == ["a", "b", "c"] or elo(found)["c"] > elo(found)["b"]
    names = [rating.name for rating in found.ratings]
    a, b, c = (names.index(name) for name in "abc")
    assert (found.win_rates[a, b], found.win_rates[b, a], found.win_rates[b, c]) == (0.75, 0.25, 0.5)
    assert (found.met[a, b], found.met[c, b], found.met[a, c]) == (4, 2, 0)
    assert math.isnan(found.win_rates[a, c])
    assert math.isnan(found.win_rates[a, a])


def test_perfect_winners_stay_finite_and_are_told() -> None:
    found = rate_votes(votes_of(("a", "b", "left", 50), ("b", "c", "left", 50)), QUICK)
    assert (found.unbeaten, found.winless) == (["a"], ["c"])
    ratings = {rating.name: rating for rating in found.ratings}
    assert ratings["a"].elo > ratings["b"].elo > ratings["c"].elo
    assert all(rating.low is not None and math.isfinite(rating.low) for rating in found.ratings)
    assert ratings["a"].elo - ratings["b"].elo < 1500
    assert sum(elo(rate_votes(votes_of(("a", "b", "left", 9), ("a", "c", "left", 3)), QUICK)).values()) == pytest.approx(3000)
    longer = rate_votes(votes_of(("a", "b", "left", 100_000)), QUICK)
    assert math.isfinite(longer.ratings[0].elo)


def test_groups_that_never_met_are_told() -> None:
    found = rate_votes(votes_of(("a", "b", "left", 9), ("a", "b", "right", 3), ("x", "y", "left", 6), ("x", "y", "right", 6)), QUICK)
    assert sorted(map(sorted, found.groups)) == [["a", "b"], ["x", "y"]]
    assert elo(found)["x"] == pytest.approx(elo(found)["y"])
    assert elo(found)["a"] > elo(found)["x"] > elo(found)["b"]
    chain = rate_votes(votes_of(*[(f"v{i}", f"v{i + 1}", "tie", 1) for i in range(9)]), QUICK)
    assert [len(group) for group in chain.groups] == [10]


def test_few_votes() -> None:
    nothing = rate_votes([])
    assert (nothing.ratings, nothing.groups, nothing.win_rates.shape) == ([], [], (0, 0))
    one = rate_votes([Vote("a", "b", "right", "Mai")])
    assert [(rating.name, rating.low, rating.high) for rating in one.ratings] == [("b", None, None), ("a", None, None)]
    assert one.persons == {"Mai": {"left": 0, "right": 1, "tie": 0, "both_bad": 0}}
    with pytest.raises(ValueError, match="not a vote"):
        rate_votes([Vote("a", "a", "left")])
    with pytest.raises(ValueError, match="not a vote"):
        rate_votes([Vote("a", "b", "draw")])


def test_votes_of_one_ballot_are_drawn_together() -> None:
    """Nine votes of one choice weigh as much as nine, and tell no more of chance than one: the interval is √9 times as wide."""
    cells = [("left", 60), ("right", 40)]
    alone = [Vote("a", "b", outcome) for outcome, count in cells for _ in range(count * 9)]
    ballots = [Vote("a", "b", outcome, ballot=f"{outcome} {n}") for outcome, count in cells for n in range(count) for _ in range(9)]
    one, nine = (rate_votes(votes, IntervalRules(resamples=1000)).ratings[0] for votes in (alone, ballots))
    assert one.elo == pytest.approx(nine.elo)
    assert one.low is not None
    assert one.high is not None
    assert nine.low is not None
    assert nine.high is not None
    assert (nine.high - nine.low) / (one.high - one.low) == pytest.approx(3, rel=0.2)
    single = rate_votes([Vote("a", "b", "left", ballot="x"), Vote("a", "c", "left", ballot="x")]).ratings
    assert [each.low for each in single] == [None, None, None]


def test_votes_are_counted_per_person() -> None:
    votes = [Vote("a", "b", "left", "Mai"), Vote("a", "b", "tie", "Ken"), Vote("b", "a", "left", "Mai"), Vote("b", "a", "both_bad", "Ken")]
    assert rate_votes(votes, QUICK).persons == {
        "Mai": {"left": 2, "right": 0, "tie": 0, "both_bad": 0}, "Ken": {"left": 0, "right": 0, "tie": 1, "both_bad": 1},
    }  # fmt: skip


def test_known_strengths_lie_within_the_interval() -> None:
    """200 groups of voters with the odds of known strengths: each variant's 95 % interval holds its strength in at least 90 %."""
    truth = {"a": 1120.0, "b": 1030.0, "c": 970.0, "d": 880.0}
    names, held = list(truth), dict.fromkeys(truth, 0)
    for seed in range(200):
        chance = np.random.default_rng(seed)
        pairs = [chance.choice(4, 2, replace=False) for _ in range(240)]
        votes = []
        for i, j in pairs:
            left, right = names[i], names[j]
            won = chance.random() < 1 / (1 + 10 ** ((truth[right] - truth[left]) / 400))
            votes.append(Vote(left, right, "left" if won else "right"))
        for rating in rate_votes(votes, IntervalRules(resamples=200, seed=seed)).ratings:
            assert rating.low is not None
            assert rating.high is not None
            held[rating.name] += rating.low <= truth[rating.name] <= rating.high
    assert min(held.values()) >= 180, held
    assert min(held.values()) < 200  # not because the intervals are endless
