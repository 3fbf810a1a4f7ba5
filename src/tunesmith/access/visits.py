"""Who is here: people and programs by name and role, in memory for as long as the server stands. Knows no requests and no files."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tunesmith.access.people import Person

HERE_SECONDS = 300.0
_REMEMBERED = 1000


@dataclass
class Visit:
    """One who came: when first and last (Unix seconds), and how many tabs are open."""

    name: str
    role: str
    program: bool
    first_at: float
    last_at: float
    tabs: int = 0


class Visits:
    """Counts requests and open tabs of each name; of very many names those that were seen last are kept."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._of: OrderedDict[tuple[str, str, bool], Visit] = OrderedDict()

    def see(self, person: Person, program: bool = False) -> bool:
        """Take note of a request; return whether it is the first of this one since the server stands."""
        with self._lock:
            first = (person.name, person.role, program) not in self._of
            self._visit(person, program)
            return first

    def _visit(self, person: Person, program: bool) -> Visit:
        key, now = (person.name, person.role, program), self._now()
        while key not in self._of and len(self._of) >= _REMEMBERED:
            self._of.popitem(last=False)
        visit = self._of.setdefault(key, Visit(*key, first_at=now, last_at=now))
        visit.last_at = now
        self._of.move_to_end(key)
        return visit

    @contextmanager
    def tab(self, person: Person) -> Iterator[None]:
        """Count a tab for as long as it is open."""
        with self._lock:
            visit = self._visit(person, program=False)
            visit.tabs += 1
        try:
            yield
        finally:
            with self._lock:
                visit.tabs -= 1
                visit.last_at = self._now()

    def here(self) -> list[Visit]:
        """Return who has a tab open or asked within the last five minutes, the last one first."""
        with self._lock:
            return [v for v in reversed(self._of.values()) if v.tabs > 0 or self._now() - v.last_at < HERE_SECONDS]
