"""Answers that many viewers ask for at once: worked out for the first of them, given to all. Knows no runs and no language."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar, cast

T = TypeVar("T")
KEPT_ANSWERS = 128


@dataclass(frozen=True)
class _Kept:
    value: object
    until: float


class SharedAnswers:
    """Answers by what was asked; those who ask while one is worked out wait for it. For one event loop."""

    def __init__(self, most: int = KEPT_ANSWERS) -> None:
        self._most = most
        self._kept: dict[Hashable, _Kept] = {}
        self._at_work: dict[Hashable, asyncio.Future[object]] = {}

    async def find(self, asked: Hashable, work: Callable[[], T], fresh_seconds: float) -> T:
        """Return the answer, worked out aside of the event loop unless one is at most `fresh_seconds` old. Raises what `work` raises."""
        kept = self._kept.get(asked)
        if kept and time.monotonic() < kept.until:
            return cast(T, kept.value)
        if asked not in self._at_work:
            self._at_work[asked] = asyncio.ensure_future(self._work(asked, work, fresh_seconds))
        return cast(T, await asyncio.shield(self._at_work[asked]))  # one who leaves takes it from nobody

    async def _work(self, asked: Hashable, work: Callable[[], T], fresh_seconds: float) -> T:
        try:
            value = await asyncio.to_thread(work)
            self._kept.pop(asked, None)
            self._kept[asked] = _Kept(value, time.monotonic() + fresh_seconds)
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
            return value
        finally:
            del self._at_work[asked]
