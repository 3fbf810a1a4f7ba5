"""Which run is next: one accelerator; higher priority first, then the place people gave it, then first come. Knows records only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, time

from tunesmith.errors import UserError
from tunesmith.store.experiments import OCCUPYING, Experiment

Place = Callable[[Experiment], tuple[int, float]]


def waiting_line(experiments: Iterable[Experiment], place: Place) -> list[Experiment]:
    """Return the queued runs in the order in which they will start; `place` gives a run's (priority, rank)."""

    def key(experiment: Experiment) -> tuple[int, float, str]:
        priority, rank = place(experiment)
        return -priority, rank, experiment.id

    return sorted((e for e in experiments if e.status == "queued"), key=key)


def occupying(experiments: Iterable[Experiment]) -> list[Experiment]:
    """Return the runs that have a worker."""
    return [e for e in experiments if e.status in OCCUPYING]


def parse_quiet_hours(text: str) -> tuple[time, time] | None:
    """Return begin and end of `22:00-07:00`, None of an empty text. Raises UserError `quiet_hours_unreadable`."""
    if not text.strip():
        return None
    try:
        begin, end = (time.fromisoformat(part.strip()) for part in text.split("-"))
    except ValueError as error:
        raise UserError("quiet_hours_unreadable", value=text) from error
    if begin.tzinfo or end.tzinfo:
        raise UserError("quiet_hours_unreadable", value=text)
    return begin, end


def is_quiet(hours: tuple[time, time] | None, now: datetime) -> bool:
    """Whether no run may start now; hours may pass midnight."""
    if hours is None:
        return False
    begin, end = hours
    clock = now.time()
    return begin <= clock < end if begin <= end else clock >= begin or clock < end
