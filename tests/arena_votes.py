"""Arenas with votes, for tests: rounds as they come from `arena.ask`, with made-up answers and no engine."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from tests.adapters import add_adapter
from tunesmith.inference.sampling import Sampling
from tunesmith.services import arena
from tunesmith.services.arena import Answer, Ballot, Round
from tunesmith.services.context import Services
from tunesmith.services.variants import find_variant
from tunesmith.store.votes import ArenaRecord


def open_arena(s: Services, *names: str, at_once: int = 2, system: str = "") -> ArenaRecord:
    """Open an arena of new adapters with these names."""
    keys = [f"adapter:{add_adapter(s.data_dir, name, seed=seed).id}" for seed, name in enumerate(names)]
    return arena.create(s, "the arena", [find_variant(s, key) for key in keys], at_once, system, Sampling())


def make_round(record: ArenaRecord, shown: Sequence[str] = (), texts: Sequence[str] = (), prompt: str = "Who?") -> Round:
    """Return a round of an arena before its vote."""
    keys = tuple(shown) or arena.draw_shown(record, list(record.variants))
    answers = tuple(Answer(text, 7, 0.5, 0.1, "stop") for text in (texts or [f"says {place}" for place in range(len(keys))]))
    return Round(secrets.token_hex(8), record.id, prompt, record.system, record.sampling, keys, answers)


def cast(s: Services, of: Round, winner: str, person: str = "Mai") -> Ballot:
    """Vote for a variant by its key, or `tie`, or `both_bad`."""
    if winner in of.shown:
        return arena.vote(s, of, arena.BEST, of.shown.index(winner), person)
    return arena.vote(s, of, winner, None, person)
