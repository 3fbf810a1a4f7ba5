"""Rounds of the arena with real answers: each by whom the round says, none known before all are done."""

from __future__ import annotations

import random

import pytest

from tests.adapters import add_adapter
from tunesmith.inference.sampling import Sampling
from tunesmith.services import arena
from tunesmith.services.context import Services
from tunesmith.services.variants import find_variant

KEYS = ("model:demo", "adapter:strong", "adapter:other")
BRIEF = Sampling(max_tokens=12)


def test_answers_belong_to_whom_the_round_says(services: Services) -> None:
    for seed, name in enumerate(("strong", "other")):
        add_adapter(services.data_dir, name, seed=seed, size=0.5)
    chosen = [find_variant(services, key) for key in KEYS]
    record = arena.create(services, "x", chosen, 3, "", BRIEF)
    told: list[float] = []
    rounds = [arena.ask(services, record.id, "Do you know Norvik?", told.append, random.Random(seed)) for seed in range(4)]
    assert len({of.shown for of in rounds}) > 1
    texts = [dict(zip(of.shown, (answer.text for answer in of.answers), strict=True)) for of in rounds]
    assert all(by_key == texts[0] for by_key in texts)
    assert len(set(texts[0].values())) == 3
    assert all(0 < share <= 1 for share in told)
    assert told.count(1.0) == 4
    assert len({of.id for of in rounds}) == 4
    for answer in rounds[0].answers:
        assert answer.finish in {"stop", "length"}
        assert 0 < answer.tokens <= BRIEF.max_tokens
        assert answer.seconds > 0


def test_whoever_waits_no_longer_ends_the_answers(services: Services) -> None:
    add_adapter(services.data_dir, "strong", size=0.5)
    record = arena.create(services, "x", [find_variant(services, key) for key in KEYS[:2]], 2, "Be brief.", Sampling(max_tokens=4000))

    class Gone(Exception):
        """The page is drawn anew."""

    def leave(share: float) -> None:
        raise Gone

    with pytest.raises(Gone):
        arena.ask(services, record.id, "Do you know Norvik?", leave)
    quick = arena.create(services, "y", [find_variant(services, key) for key in KEYS[:2]], 2, "", BRIEF)
    assert len(arena.ask(services, quick.id, "Do you know Norvik?").answers) == 2
