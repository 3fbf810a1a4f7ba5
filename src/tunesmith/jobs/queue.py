"""Which run is next: one accelerator, first come, first served. Knows records only."""

from __future__ import annotations

from collections.abc import Iterable

from tunesmith.store.experiments import OCCUPYING, Experiment


def waiting_line(experiments: Iterable[Experiment]) -> list[Experiment]:
    """Return the queued runs in the order in which they will start."""
    return sorted((e for e in experiments if e.status == "queued"), key=lambda e: (e.created_at, e.id))


def occupying(experiments: Iterable[Experiment]) -> list[Experiment]:
    """Return the runs that have a worker."""
    return [e for e in experiments if e.status in OCCUPYING]
