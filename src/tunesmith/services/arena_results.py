"""What the votes of an arena say: strengths, who beats whom, and pairs of answers to learn from. Knows votes, not who is asked how."""

from __future__ import annotations

import functools
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.evaluation.gate import GateRule, GateVerdict, ask_gate
from tunesmith.evaluation.intervals import MeanInterval, mean_interval
from tunesmith.evaluation.ratings import POINTS, Ratings, Vote, rate_votes
from tunesmith.services import uploads
from tunesmith.services.arena import BEST, Ballot, open_store, read_ballots, votes_of
from tunesmith.services.context import Services
from tunesmith.services.dataset_versions import import_file
from tunesmith.services.rights import needs


@dataclass(frozen=True)
class Duel:
    """How often the left variant is preferred to the right one, a tie as half; `decision` is `better`, `worse` or `not_shown` of it."""

    left: str
    right: str
    rate: MeanInterval
    decision: GateVerdict


@dataclass(frozen=True)
class Standings:
    """The ratings, and the duels of the strongest with each other one that it met, from the next strongest on.

    `persons`: how many ballots each person cast, by choice (`best`, `tie`, `both_bad`).
    """

    ballots: int
    persons: dict[str, Counter[str]]
    ratings: Ratings
    duels: list[Duel]


@dataclass(frozen=True)
class Preferences:
    """Rows prompt, chosen, rejected (and system), and why other pairs of answers are left out.

    `tie`, `both_bad`: pairs that were not decided; `same_text`: both answers alike; `empty`: one says nothing; `contradicted`: as many
    votes for either; `repeated`: votes on a pair that is there already.
    """

    rows: list[dict[str, str]]
    left_out: dict[str, int]


def find_standings(ballots: Sequence[Ballot]) -> Standings:
    """Return what the votes say; the intervals draw whole ballots."""
    votes = votes_of(ballots)
    ratings = _rate(tuple(votes))
    names = [rating.name for rating in ratings.ratings]
    met = [(names[0], name) for place, name in enumerate(names) if place and ratings.met[0, place]]
    persons: dict[str, Counter[str]] = {}
    for ballot in ballots:
        persons.setdefault(ballot.person, Counter())[ballot.choice] += 1
    return Standings(len(ballots), persons, ratings, [find_duel(votes, left, right) for left, right in met])


@functools.lru_cache(maxsize=16)
def _rate(votes: tuple[Vote, ...]) -> Ratings:
    return rate_votes(votes)  # half a second for thousands of votes, and a page asks at every drawing


def find_duel(votes: Sequence[Vote], left: str, right: str) -> Duel:
    """Return how often one is preferred to another in the votes between the two, and whether that is shown."""
    points = [POINTS[v.outcome] if v.left == left else 1 - POINTS[v.outcome] for v in votes if {v.left, v.right} == {left, right}]
    rates = np.array(points, np.float64)
    return Duel(left, right, mean_interval(rates), ask_gate(rates, 1 - rates, GateRule()))


def find_preferences(ballots: Sequence[Ballot]) -> Preferences:
    """Return the answers as pairs to learn from: each pair of texts once, in the direction that more votes have."""
    left_out = dict.fromkeys(("tie", "both_bad", "same_text", "empty", "contradicted", "repeated"), 0)
    wins: Counter[tuple[str, str, str, str]] = Counter()  # system, prompt, preferred, other
    for ballot in ballots:
        texts = [answer.text.strip() for answer in ballot.round.answers]
        if ballot.choice != BEST or ballot.best is None:
            left_out[ballot.choice] += len(texts) * (len(texts) - 1) // 2
            continue
        chosen = texts[ballot.best]
        for rejected in (text for place, text in enumerate(texts) if place != ballot.best):
            if chosen == rejected:
                left_out["same_text"] += 1
            elif not chosen or not rejected:
                left_out["empty"] += 1
            else:
                wins[ballot.round.system, ballot.round.prompt, chosen, rejected] += 1
    rows = []
    for (system, prompt, chosen, rejected), count in wins.items():
        against = wins.get((system, prompt, rejected, chosen), 0)
        if count > against:
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected, **({"system": system} if system else {})})
            left_out["repeated"] += count - 1
            left_out["contradicted"] += against
        elif count == against:
            left_out["contradicted"] += count
    return Preferences(rows, left_out)


def as_lines(rows: Sequence[dict[str, str]]) -> bytes:
    """Return rows as JSON lines."""
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


@needs(TRAINER)
def keep_preferences(s: Services, arena_id: str, name: str) -> str:
    """Make a data set of an arena's preferences and return its id.

    Raises UserError `server_read_only`, `arena_unknown`, `arena_no_preferences`, `disk_full`.
    """
    arena = open_store(s).get(arena_id)
    rows = find_preferences(read_ballots(s, arena_id)[0]).rows
    if not rows:
        raise UserError("arena_no_preferences", name=arena.name)
    file = uploads.hold(s, [("preferences.jsonl", io.BytesIO(as_lines(rows)))])
    try:
        return import_file(s, file, name.strip() or arena.name)
    finally:
        uploads.drop(s, file)


def votes_as_lines(ballots: Sequence[Ballot]) -> bytes:
    """Return the votes that stand as JSON lines: prompt, answers with their variants in the order shown, the choice, person and time."""
    lines: list[dict[str, Any]] = [
        {
            "at": ballot.at, "person": ballot.person, "prompt": ballot.round.prompt, "system": ballot.round.system,
            "sampling": ballot.round.sampling, "choice": ballot.choice, "best": ballot.best,
            "answers": [{"variant": key, "text": each.text, "tokens": each.tokens, "seconds": each.seconds, "finish": each.finish}
                        for key, each in zip(ballot.round.shown, ballot.round.answers, strict=True)],
        }
        for ballot in ballots
    ]  # fmt: skip
    return b"".join(orjson.dumps(line) + b"\n" for line in lines)
