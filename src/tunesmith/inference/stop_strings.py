"""Ends a text that arrives in pieces before a stop string, wherever the pieces are cut. Knows no tokens and no model."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """One text's watch. The stop string that is complete first ends the text, of two that end together the longer one.

    So the outcome is that of reading character by character, whatever the pieces are.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def feed(self, piece: str, last: bool = False) -> tuple[str, bool]:
        """Return what is certainly before any stop string, and whether one ends the text here.

        The end of a text that may begin a stop string is held back until more is known; `last` lets it go.
        """
        text = self._held + piece
        found = [(place + len(stop), place) for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            _, place = min(found)
            return text[:place], True
        sure = len(text) if last else len(text) - self._begun(text)
        self._held = text[sure:]
        return text[:sure], False

    def _begun(self, text: str) -> int:
        """Return how many characters at the end of the text are the beginning of a stop string."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        for size in range(min(longest, len(text)), 0, -1):
            end = text[-size:]
            if any(len(stop) > size and stop.startswith(end) for stop in self._stops):
                return size
        return 0
