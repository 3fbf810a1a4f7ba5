"""Many who ask at once cost one answer; how many look on is known, and decides how often each may ask."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from tunesmith.services import audience, shared_answers
from tunesmith.services.audience import Audience, pace_seconds
from tunesmith.services.shared_answers import SharedAnswers


class Oracle:
    """Counts how often it is asked; answers with that number, as slowly as it is told."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.asked, self.seconds, self.threads = 0, seconds, set[int]()

    def __call__(self) -> int:
        self.asked += 1
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        return self.asked


def test_fifty_at_once_cost_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(shared_answers, "time", SimpleNamespace(monotonic=lambda: now[0]))

    async def ask() -> list[int]:
        answers, oracle = SharedAnswers(), Oracle(0.05)
        first = await asyncio.gather(*(answers.find("run", oracle, 0.1) for _ in range(50)))
        now[0] += 0.09
        kept = await answers.find("run", oracle, 0.1)
        now[0] += 0.02
        later = await asyncio.gather(*(answers.find("run", oracle, 0.1) for _ in range(50)))
        assert threading.get_ident() not in oracle.threads, "the event loop stood still meanwhile"
        return [*first, kept, *later]

    assert asyncio.run(ask()) == [1] * 51 + [2] * 50


def test_different_questions_have_different_answers_and_only_some_are_kept() -> None:
    async def ask() -> None:
        answers, oracle = SharedAnswers(most=2), Oracle()
        assert [await answers.find(name, oracle, 60) for name in ("a", "b", "a", "c", "b", "a")] == [1, 2, 1, 3, 2, 4]

    asyncio.run(ask())


def test_what_goes_wrong_is_told_to_all_and_not_kept() -> None:
    async def ask() -> None:
        answers = SharedAnswers()
        told = await asyncio.gather(*(answers.find("x", lambda: 1 // 0, 60) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in told] == [ZeroDivisionError] * 3
        assert await answers.find("x", lambda: 7, 60) == 7

    asyncio.run(ask())


def test_who_leaves_takes_the_answer_from_nobody() -> None:
    async def ask() -> None:
        answers, oracle = SharedAnswers(), Oracle(0.05)
        leaving, staying = (asyncio.ensure_future(answers.find("x", oracle, 60)) for _ in range(2))
        await asyncio.sleep(0.01)
        leaving.cancel()
        assert await staying == 1
        assert leaving.cancelled()

    asyncio.run(ask())


def test_viewers_are_counted_while_they_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(audience.time, "monotonic", lambda: now[0])
    seen = Audience()
    for viewer in ("a", "b", "a", "c"):
        seen.see(viewer)
    assert seen.count() == 3
    now[0] += audience.AWAY_SECONDS - 1
    seen.see("c")
    assert seen.count() == 3
    now[0] += 2
    assert seen.count() == 1
    now[0] += 100
    assert seen.count() == 1, "who asks is always one"


def test_more_viewers_than_can_be_told_apart_cost_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "MOST_COUNTED", 10)
    seen = Audience()
    for number in range(100):
        seen.see(str(number))
    assert len(seen._seen) == 10


def test_the_pace_slows_with_viewers() -> None:
    paces = [pace_seconds(viewers) for viewers in (1, 200, 201, 500, 501, 10**6)]
    assert paces == [1.0, 1.0, 2.0, 2.0, 5.0, 5.0]
