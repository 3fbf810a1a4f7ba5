"""What lives long is left out of collections; what died meanwhile is found by a sweep."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from tunesmith.ui import many_sessions
from tunesmith.ui.many_sessions import serve_many, sweep


class Cycle:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_dies_frozen_is_found_by_a_sweep() -> None:
    cycle = Cycle()
    alive = weakref.ref(cycle)
    sweep()
    frozen = gc.get_freeze_count()
    assert frozen > 10_000
    del cycle
    gc.collect()
    assert alive() is not None, "it was not frozen: collections walk through everything"
    sweep()
    assert alive() is None


def test_new_sessions_are_frozen_while_the_server_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_sessions, "FREEZE_SECONDS", 0.01)
    monkeypatch.setattr(many_sessions, "FREEZES_TO_SWEEP", 3)
    interval = sys.getswitchinterval()

    async def serve() -> None:
        async with serve_many():
            assert sys.getswitchinterval() == pytest.approx(many_sessions.TURN_SECONDS)
            before = gc.get_freeze_count()
            kept = [Cycle() for _ in range(1000)]
            gone = weakref.ref(kept[0])
            async with asyncio.timeout(60):
                while gc.get_freeze_count() < before + 1000:
                    await asyncio.sleep(0.005)
                kept.clear()
                while gone() is not None:
                    await asyncio.sleep(0.005)

    asyncio.run(serve())
    assert sys.getswitchinterval() == interval
    assert gc.get_freeze_count() == 0
