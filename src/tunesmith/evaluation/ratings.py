"""Strengths of variants from people's votes: Bradley–Terry on the Elo scale, with intervals. Knows votes, no texts and no models.

Bradley & Terry, "Rank analysis of incomplete block designs", 1952; a tie, also one of "both bad", counts half a win for either (Chiang
et al., "Chatbot Arena", 2024). Departure: every variant also has one drawn vote against a variant of average strength. It keeps
strengths finite where the votes alone do not (Ford 1957: somebody won or lost everything, or groups never met), and pulls little
otherwise. Ballots are taken as independent; many by one person make an interval too narrow, so the counts per person are told.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tunesmith.evaluation.intervals import IntervalRules, percentile_interval

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Cell = tuple[str, str, str]  # left, right, outcome
POINTS = {"left": 1.0, "right": 0.0, "tie": 0.5, "both_bad": 0.5}  # the left variant's
AVERAGE_ELO = 1000.0
ELO_PER_STRENGTH = 400 / math.log(10)  # 400 points: ten wins to one
PRIOR_VOTES = 1.0
RESAMPLES = 1000
_NEWTON_STEPS = 60
_CLOSE = 1e-9


@dataclass(frozen=True)
class Vote:
    """One person's choice between two different variants: `left`, `right`, `tie` or `both_bad`.

    Votes that come of one choice among several variants share a `ballot`: chance draws them together.
    """

    left: str
    right: str
    outcome: str
    person: str = ""
    ballot: str = ""


@dataclass(frozen=True)
class Rating:
    """A variant's strength, the average of all at 1000; `votes` it took part in and how they went."""

    name: str
    elo: float
    low: float | None
    high: float | None
    votes: int
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Ratings:
    """All variants, the strongest first; `win_rates` [K, K] of the row's against the column's, NaN where they never met; `met` [K, K].

    `groups`: variants that met, directly or through others; strengths of different groups cannot be compared. `unbeaten` and `winless`
    have lost, or won, not even half a vote: how far away they are is not known, only the drawn vote holds them.
    """

    ratings: list[Rating]
    win_rates: Floats
    met: Floats
    groups: list[list[str]]
    unbeaten: list[str]
    winless: list[str]
    outcomes: dict[str, int]
    persons: dict[str, dict[str, int]]


def rate_votes(votes: Sequence[Vote], rules: IntervalRules | None = None) -> Ratings:
    """Return the ratings with bootstrap intervals over ballots (1000 resamples at most); fewer than two give no interval.

    The rows and columns of the matrices are in the order of `ratings`. Raises ValueError for a vote that compares a variant with itself,
    or with an outcome of another name.
    """
    if not votes:
        return Ratings([], np.zeros((0, 0)), np.zeros((0, 0)), [], [], [], dict.fromkeys(POINTS, 0), {})
    names = sorted({name for vote in votes for name in (vote.left, vote.right)})
    kinds = Counter(_ballots(votes))
    of_kinds = np.stack([_points_of_cells(kind, names).sum(0) for kind in kinds])
    counts = np.array(list(kinds.values()), np.float64)
    points = np.tensordot(counts, of_kinds, 1)
    elo = to_elo(fit_strengths(points[None]))[0]
    low, high = _bounds(counts, of_kinds, rules or IntervalRules()) if counts.sum() > 1 else (None, None)
    order = np.argsort(-elo, kind="stable")
    names = [names[i] for i in order]
    ratings = [
        _rating(votes, name, float(elo[i]), None if low is None else float(low[i]), None if high is None else float(high[i]))
        for i, name in zip(order, names, strict=True)
    ]
    points = points[np.ix_(order, order)]
    met = points + points.T
    rates = np.divide(points, met, out=np.full_like(points, np.nan), where=met > 0)
    unbeaten, winless = ([name for name, lost in zip(names, points.sum(axis), strict=True) if not lost] for axis in (0, 1))
    persons = {person: _outcomes(v for v in votes if v.person == person) for person in dict.fromkeys(v.person for v in votes)}
    return Ratings(ratings, rates, met, _groups(met > 0, names), unbeaten, winless, _outcomes(votes), persons)


def _ballots(votes: Sequence[Vote]) -> list[tuple[Cell, ...]]:
    """Return the votes of each ballot together; a vote without one is a ballot of its own."""
    found: dict[str | int, list[Cell]] = {}
    for number, vote in enumerate(votes):
        found.setdefault(vote.ballot or number, []).append((vote.left, vote.right, vote.outcome))
    return [tuple(sorted(cells)) for cells in found.values()]


def _points_of_cells(cells: Sequence[Cell], names: Sequence[str]) -> Floats:
    """Return [C, K, K]: the points that each kind of vote gives to the row's variant over the column's."""
    place = {name: i for i, name in enumerate(names)}
    points = np.zeros((len(cells), len(names), len(names)))
    for number, (left, right, outcome) in enumerate(cells):
        if left == right or outcome not in POINTS:
            raise ValueError(f"not a vote: {left!r}, {right!r}, {outcome!r}")
        points[number, place[left], place[right]] = POINTS[outcome]
        points[number, place[right], place[left]] = 1 - POINTS[outcome]
    return points


def fit_strengths(points: Floats) -> Floats:
    """Return the strengths [B, K] (natural logarithm of the odds, mean 0) that points [B, K, K] of row over column are likeliest for.

    Newton's method on the log-likelihood, which is concave; with `PRIOR_VOTES` drawn votes of each variant against strength 0.
    """
    met = points + points.swapaxes(1, 2)
    strengths = np.zeros(points.shape[:2])
    places = np.arange(points.shape[1])
    for _ in range(_NEWTON_STEPS):
        likely = _sigmoid(strengths[:, :, None] - strengths[:, None, :])
        alone = _sigmoid(strengths)
        slope = (points - met * likely).sum(2) + PRIOR_VOTES * (0.5 - alone)
        curvature = -met * likely * (1 - likely)
        curvature[:, places, places] -= curvature.sum(2)
        curvature[:, places, places] += PRIOR_VOTES * alone * (1 - alone)
        step: Floats = np.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
        widest = np.abs(step).max(axis=1, keepdims=True)
        strengths += step / np.maximum(1.0, widest)  # a whole step from far away can overshoot
        if widest.max() < _CLOSE:
            break
    middle: Floats = strengths.mean(axis=1, keepdims=True)
    return strengths - middle


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(values / 2)))


def to_elo(strengths: Floats) -> Floats:
    """Return strengths (natural logarithm of the odds) on the Elo scale."""
    return AVERAGE_ELO + ELO_PER_STRENGTH * strengths


def _bounds(counts: Floats, of_kinds: Floats, rules: IntervalRules) -> tuple[Floats, Floats]:
    """Return the intervals' bounds [K] over ballots drawn again: of those alike only the number changes."""
    total = int(counts.sum())
    drawn = np.random.default_rng(rules.seed).multinomial(total, counts / total, min(rules.resamples, RESAMPLES))
    elo = to_elo(fit_strengths(np.tensordot(drawn.astype(np.float64), of_kinds, 1)))
    bounds = [percentile_interval(of_one, rules.confidence) for of_one in elo.T]
    return np.array([low for low, _ in bounds]), np.array([high for _, high in bounds])


def _rating(votes: Sequence[Vote], name: str, elo: float, low: float | None, high: float | None) -> Rating:
    points = [POINTS[v.outcome] if v.left == name else 1 - POINTS[v.outcome] for v in votes if name in (v.left, v.right)]
    return Rating(name, elo, low, high, len(points), points.count(1.0), points.count(0.5), points.count(0.0))


def _outcomes(votes: Iterable[Vote]) -> dict[str, int]:
    counted = Counter(vote.outcome for vote in votes)
    return {outcome: counted[outcome] for outcome in POINTS}


def _groups(met: Flags, names: Sequence[str]) -> list[list[str]]:
    """Return the variants that are connected by votes, in their order."""
    reached = met | np.eye(len(names), dtype=bool)
    for _ in range(len(names).bit_length()):
        reached = reached @ reached
    rows = dict.fromkeys(tuple(row) for row in reached.tolist())
    return [[name for name, within in zip(names, row, strict=True) if within] for row in rows]
