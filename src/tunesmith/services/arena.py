"""The blind arena: variants answer the same prompt in an order drawn anew, people choose without names. Knows no page and no strengths.

What a page may show before the vote is `Round.prompt`, `Round.system` and the answers' texts; who wrote them, and how fast, comes after.
"""

from __future__ import annotations

import dataclasses
import random
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.evaluation.ratings import Vote
from tunesmith.inference.sampling import Sampling
from tunesmith.services.asking import open_conversation, stream_answers
from tunesmith.services.context import Services
from tunesmith.services.datasets import find_dataset, held_out_prompts
from tunesmith.services.rights import needs, require_own
from tunesmith.services.variants import VariantInfo, find_variant
from tunesmith.settings.files import from_mapping, to_mapping
from tunesmith.store.votes import ArenaRecord, ArenaStore

LEAST_VARIANTS, MOST_VARIANTS, MOST_AT_ONCE = 2, 8, 4
MOST_PROMPTS = 2000  # of a data set
LONGEST_PERSON = 60
REPORTED_SHARE = 0.02  # a page draws no more often
BEST, TIE, ALL_BAD = "best", "tie", "both_bad"
Report = Callable[[float], object]


@dataclass(frozen=True)
class Answer:
    """What a variant said: its length in tokens, its seconds, and whether it ended by itself (`stop`) or was cut (`length`)."""

    text: str
    tokens: int = 0
    seconds: float = 0.0
    first_token_seconds: float | None = None
    finish: str = ""


@dataclass(frozen=True)
class Round:
    """One prompt and its answers in the order shown, before the vote; `shown` are the variants' keys in the same order."""

    id: str
    arena: str
    prompt: str
    system: str
    sampling: dict[str, Any]
    shown: tuple[str, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Ballot:
    """A round with what a person chose: the best (`best` is its place), `tie`, or `both_bad` (all of several)."""

    round: Round
    choice: str
    best: int | None
    person: str
    at: float

    @property
    def id(self) -> str:
        """The round's id: a round is voted on once."""
        return self.round.id


def open_store(s: Services) -> ArenaStore:
    """Return where the arenas are kept."""
    return ArenaStore(s.data_dir)


@needs(TRAINER)
def create(s: Services, name: str, variants: Sequence[VariantInfo], at_once: int, system: str, sampling: Sampling) -> ArenaRecord:
    """Open an arena. Raises UserError `server_read_only`, `arena_variants`, `arena_at_once`, `name_empty`, `name_too_long`."""
    s.require_writable()
    names = {variant.key: variant.name for variant in variants}
    if not LEAST_VARIANTS <= len(names) <= MOST_VARIANTS:
        raise UserError("arena_variants", chosen=len(names), least=LEAST_VARIANTS, most=MOST_VARIANTS)
    if not LEAST_VARIANTS <= at_once <= min(MOST_AT_ONCE, len(names)):
        raise UserError("arena_at_once", asked=at_once, least=LEAST_VARIANTS, most=min(MOST_AT_ONCE, len(names)))
    return open_store(s).create(name, names, at_once, system.strip(), to_mapping(sampling), s.person.name)


def list_arenas(s: Services) -> tuple[list[ArenaRecord], list[str]]:
    """Return the arenas, newest first, and the ids of those that cannot be read."""
    return open_store(s).all()


@needs(TRAINER)
def rename(s: Services, arena_id: str, name: str) -> None:
    """Give an arena another name. Raises UserError `server_read_only`, `arena_unknown`, `name_…`, `owned_by_another`."""
    s.require_writable()
    require_own(s, open_store(s).owner(arena_id))
    open_store(s).rename(arena_id, name)


@needs(TRAINER)
def trash(s: Services, arena_id: str) -> None:
    """Move an arena with its votes to the trash. Raises UserError `server_read_only`, `arena_unknown`, `owned_by_another`."""
    s.require_writable()
    require_own(s, open_store(s).owner(arena_id))
    open_store(s).trash(arena_id)


@needs(TRAINER)
def restore(s: Services, arena_id: str) -> None:
    """Bring a deleted arena back. Raises UserError `server_read_only`, `arena_unknown`, `owned_by_another`."""
    s.require_writable()
    require_own(s, open_store(s).owner(arena_id))
    open_store(s).restore(arena_id)


def ask(s: Services, arena_id: str, prompt: str, report: Report | None = None, chance: random.Random | None = None) -> Round:
    """Let variants of the arena answer, in an order drawn by the system's own chance, and return the round when all are done.

    `report` is told the share of the longest that all answers together can be, so it tells nothing of any one of them; an exception in
    it ends the answers. Who was deleted answers no more. Raises UserError `prompt_empty`, `arena_unknown`, `arena_variants_gone`, and
    what the loading raises.
    """
    if not prompt.strip():
        raise UserError("prompt_empty")
    arena = open_store(s).get(arena_id)
    there = find_available(s, arena)
    if len(there) < LEAST_VARIANTS:
        raise UserError("arena_variants_gone", name=arena.name, left=len(there), least=LEAST_VARIANTS)
    shown, sampling = draw_shown(arena, list(there), chance), from_mapping(Sampling, arena.sampling)
    answers = _collect(s, [there[key] for key in shown], prompt, arena.system, sampling, report)
    return Round(secrets.token_hex(8), arena_id, prompt, arena.system, arena.sampling, shown, answers)


def find_available(s: Services, arena: ArenaRecord) -> dict[str, VariantInfo]:
    """Return who of an arena can still be asked, by key."""
    found = {}
    for key in arena.variants:
        with suppress(UserError):  # it was deleted, or its files are broken: the standings keep its name
            found[key] = find_variant(s, key)
    return found


def draw_shown(arena: ArenaRecord, keys: Sequence[str], chance: random.Random | None = None) -> tuple[str, ...]:
    """Return who of these answers in a round, in the order shown: every choice and every order is as likely."""
    return tuple((chance or random.SystemRandom()).sample(keys, min(arena.at_once, len(keys))))


def _collect(
    s: Services, variants: Sequence[VariantInfo], prompt: str, system: str, sampling: Sampling, report: Report | None
) -> tuple[Answer, ...]:  # fmt: skip
    answers, told = [Answer("") for _ in variants], 0.0
    for delta in stream_answers(s, variants, [open_conversation(prompt, system)] * len(variants), sampling):
        before = answers[delta.variant]
        answers[delta.variant] = Answer(before.text + delta.text, delta.tokens, delta.seconds, delta.first_token_seconds, delta.finish)
        share = sum(sampling.max_tokens if each.finish else each.tokens for each in answers) / sampling.max_tokens / len(answers)
        if report and share >= told + REPORTED_SHARE:
            report(share)
            told = share
    return tuple(answers)


def vote(s: Services, of: Round, choice: str, best: int | None = None, person: str = "") -> Ballot:
    """Write a vote down and return it. Raises UserError `server_read_only`, `arena_unknown`, `arena_choice`, `disk_full`."""
    s.require_writable()
    if choice not in (BEST, TIE, ALL_BAD) or (choice == BEST) != (best is not None) or best not in (None, *range(len(of.shown))):
        raise UserError("arena_choice", choice=choice)
    ballot = Ballot(of, choice, best, clean_person(person), time.time())
    open_store(s).append(of.arena, {"v": 1, **dataclasses.asdict(ballot)})
    return ballot


def clean_person(name: str) -> str:
    """Return a voter's name as it is counted."""
    return " ".join(name.split())[:LONGEST_PERSON]


def retract(s: Services, ballot: Ballot, person: str) -> None:
    """Take one's own vote back; the line stays, and a second one says so. Raises UserError `server_read_only`, `arena_vote_of_another`."""
    s.require_writable()
    if clean_person(person) != ballot.person:
        raise UserError("arena_vote_of_another", person=ballot.person)
    open_store(s).append(ballot.round.arena, {"v": 1, "retracts": ballot.id, "person": ballot.person, "at": time.time()})


def read_ballots(s: Services, arena_id: str) -> tuple[list[Ballot], int]:
    """Return the votes that stand, oldest first, and how many lines could not be read. Raises UserError `arena_unknown`."""
    lines, broken = open_store(s).lines(arena_id)
    retracted = {line["retracts"] for line in lines if isinstance(line.get("retracts"), str)}
    found: dict[str, Ballot] = {}
    for line in lines:
        if "retracts" in line:
            continue
        try:
            ballot = _read_ballot(line)
        except (KeyError, TypeError, ValueError):
            broken += 1
            continue
        found.setdefault(ballot.id, ballot)
    return [ballot for ballot in found.values() if ballot.id not in retracted], broken


def _read_ballot(line: dict[str, Any]) -> Ballot:
    of = line["round"]
    answers = tuple(Answer(**answer) for answer in of["answers"])
    ballot = Ballot(
        Round(**(of | {"shown": tuple(of["shown"]), "answers": answers})), line["choice"], line["best"], line["person"], line["at"]
    )
    list(votes_of([ballot]))
    return ballot


def votes_of(ballots: Iterable[Ballot]) -> list[Vote]:
    """Return ballots as votes between two: the best has beaten each other one, a tie of all is one of every pair.

    Of two answers with the same text none is better: that is a tie, too. Raises ValueError for a ballot that is none.
    """
    found = []
    for ballot in ballots:
        keys, best = ballot.round.shown, ballot.best
        if len(set(keys)) < LEAST_VARIANTS or len(keys) != len(ballot.round.answers):
            raise ValueError(f"not a ballot: {keys!r}")
        if ballot.choice == BEST and best is not None:
            others = [place for place in range(len(keys)) if place != best]
            pairs = [(min(best, place), max(best, place), _outcome(ballot.round, best, place)) for place in others]
        else:
            pairs = [(left, right, ballot.choice) for left, right in combinations(range(len(keys)), 2)]
        found += [Vote(keys[left], keys[right], outcome, ballot.person, ballot.id) for left, right, outcome in pairs]
    return found


def _outcome(of: Round, best: int, other: int) -> str:
    if of.answers[best].text.strip() == of.answers[other].text.strip():
        return TIE
    return "left" if best < other else "right"


def prompts_of(s: Services, dataset_id: str) -> list[str]:
    """Return the questions of a data set's test rows, else of its validation rows. Raises UserError `dataset_unknown`."""
    return held_out_prompts(find_dataset(s, dataset_id).path, MOST_PROMPTS)


def draw_prompt(prompts: Sequence[str], ballots: Iterable[Ballot], person: str, chance: random.Random | None = None) -> str | None:
    """Return one by chance of the prompts that this person has not voted on, None when there is none left."""
    left = open_prompts(prompts, ballots, person)
    return (chance or random.SystemRandom()).choice(left) if left else None


def open_prompts(prompts: Sequence[str], ballots: Iterable[Ballot], person: str) -> list[str]:
    """Return the prompts that this person has not voted on."""
    seen = {ballot.round.prompt for ballot in ballots if ballot.person == clean_person(person)}
    return [prompt for prompt in prompts if prompt not in seen]
