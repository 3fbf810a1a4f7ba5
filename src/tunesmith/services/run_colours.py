"""Each run's own colour, the same on every page. Knows ids, no charts and no theme: all colours can be read on light and on dark."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

COLOURS = (
    "#1e5ae1", "#f05a00", "#007800", "#c369f0", "#c30f69", "#00a578", "#963cc3", "#b46987", "#5a96c3", "#3c78ff", "#875a78", "#f05a96",
    "#007878", "#b46900", "#b43c0f", "#969600", "#78692d", "#009600", "#4b78b4", "#e12d3c", "#9669d2", "#b48769", "#5a8778", "#d23ca5",
)  # fmt: skip


def run_colour(run_id: str) -> str:
    """Return a run's own colour `#rrggbb`, which follows from its id alone."""
    return COLOURS[_own_place(run_id)]


def run_colours(run_ids: Iterable[str]) -> dict[str, str]:
    """Return a colour `#rrggbb` for each of some runs that are told apart by it, by id.

    It is the run's own one. Of runs that would share one here, the oldest keeps it and the others take the next that is free; more than
    `len(COLOURS)` runs share.
    """
    ids = sorted(set(run_ids))  # they begin with the time: the oldest first
    owners: dict[int, str] = {}
    for run_id in ids:
        owners.setdefault(_own_place(run_id), run_id)
    free = [place for place in range(len(COLOURS)) if place not in owners]
    places = {run_id: place for place, run_id in owners.items()}
    for run_id in ids:
        if run_id not in places:
            own = _own_place(run_id)
            places[run_id] = min(free, key=lambda place: (place - own) % len(COLOURS)) if free else own
            free = [place for place in free if place != places[run_id]]
    return {run_id: COLOURS[places[run_id]] for run_id in ids}


def _own_place(run_id: str) -> int:
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:4]) % len(COLOURS)
