"""A limit on wrong codes: of one address, and of all together. Knows addresses and times."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable

OF_ONE, OF_ALL, WINDOW_SECONDS = 5, 100, 60.0
_REMEMBERED = 4096


class Attempts:
    """Counts what failed within a minute; whoever has too many waits, even with the right code."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._all: deque[float] = deque()
        self._of: OrderedDict[str, deque[float]] = OrderedDict()

    def seconds_to_wait(self, address: str) -> float:
        """Return how long an address has to wait, 0 when it may try."""
        own = self._of.get(_network_of(address), deque())
        return max(self._wait(own, OF_ONE), self._wait(self._all, OF_ALL))

    def _wait(self, failures: deque[float], most: int) -> float:
        while failures and self._now() - failures[0] >= WINDOW_SECONDS:
            failures.popleft()
        return WINDOW_SECONDS - (self._now() - failures[0]) if len(failures) >= most else 0.0

    def note_failure(self, address: str) -> None:
        """Count a wrong code."""
        own = self._of.setdefault(_network_of(address), deque(maxlen=OF_ONE))
        own.append(self._now())
        self._all.append(self._now())
        self._of.move_to_end(_network_of(address))
        while len(self._of) > _REMEMBERED:
            self._of.popitem(last=False)

    def forget(self, address: str) -> None:
        """Forgive an address, where nothing can be guessed: a right code forgives no wrong ones, or a viewer would guess between them."""
        self._of.pop(_network_of(address), None)


def _network_of(address: str) -> str:
    """Return what counts as one: an IPv6 guest may take any address of its network of 64 bits."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv6Address):
        return str(known.ipv4_mapped) if known.ipv4_mapped else str(ipaddress.ip_network((known, 64), strict=False))
    return str(known)
