"""How many look on, and how often each may ask, so that many eyes cost no more than some. Knows no pages."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

AWAY_SECONDS = 15.0  # a hidden tab asks every 5 seconds
MOST_COUNTED = 10_000
PACES = ((200, 1.0), (500, 2.0), (MOST_COUNTED, 5.0))  # up to so many viewers, each once in so many seconds


class Audience:
    """Who has asked lately; counted at most once a second."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._counted = (0.0, 0)
        self._lock = threading.Lock()

    def see(self, viewer: str) -> None:
        """Note that somebody asks; beyond `MOST_COUNTED` at a time nobody more is told apart."""
        with self._lock:
            if viewer in self._seen or len(self._seen) < MOST_COUNTED:
                self._seen[viewer] = time.monotonic()

    def count(self) -> int:
        """Return how many asked in the last `AWAY_SECONDS`."""
        now = time.monotonic()
        with self._lock:
            if now - self._counted[0] > 1.0:
                self._seen = {viewer: at for viewer, at in self._seen.items() if now - at < AWAY_SECONDS}
                self._counted = (now, len(self._seen))
            return max(1, self._counted[1])


def pace_seconds(viewers: int, paces: Sequence[tuple[int, float]] = PACES) -> float:
    """Return how many seconds each of so many viewers leaves between two questions."""
    return next((seconds for most, seconds in paces if viewers <= most), paces[-1][1])
