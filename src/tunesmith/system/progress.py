"""How long work tells whoever waits for it how far it is. An exception from the one who is told ends the work."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float], object]  # takes the share done, 0..1
Report = Callable[[str, float], object]  # takes the phase's name and the share of it that is done


def silent(*_: object) -> None:
    """Tell nobody."""
