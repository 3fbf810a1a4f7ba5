"""The queue: what runs, what waits and in which order, what is paused. Order and priority are people's, kept beside the run.

Who may change them is the app's setting `queue_jump`: every trainer for any run, a trainer for own runs (and for those of nobody), or
admins alone. Admins always may. A run that goes ahead moves others back; that is no change of theirs.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tunesmith.access.people import ADMIN, TRAINER
from tunesmith.errors import UserError
from tunesmith.jobs.queue import is_quiet, occupying, parse_quiet_hours, waiting_line
from tunesmith.services.context import Services
from tunesmith.services.rights import may_change, needs
from tunesmith.services.runs import RunSnapshot, snapshot
from tunesmith.settings.schema import ADMINS, OWN
from tunesmith.store.experiments import Experiment

PRIORITIES = (1, 0, -1)


@dataclass(frozen=True)
class Waiting:
    """A run in the line; `position` counts from 1. `locked` says why this person may not move it."""

    id: str
    name: str
    model: str
    data: str
    owner: str
    group: str
    priority: int
    position: int
    locked: UserError | None = None


@dataclass(frozen=True)
class Queue:
    """What the queue page shows."""

    active: list[RunSnapshot]
    waiting: list[Waiting]
    paused: list[RunSnapshot]
    quiet: bool


def overview(s: Services) -> Queue:
    """Return the queue as it is now."""
    experiments, _ = s.store.all()
    line = waiting_line(experiments, s.store.queue_place)
    return Queue(
        active=[snapshot(s, e.id) for e in occupying(experiments)],
        waiting=[_waiting(s, experiment, number) for number, experiment in enumerate(line, start=1)],
        paused=[snapshot(s, e.id) for e in experiments if e.status == "paused"],
        quiet=is_quiet(parse_quiet_hours(s.settings.quiet_hours), datetime.now()),
    )


def marks(queue: Queue) -> dict[str, int]:
    """Return what changes as soon as the queue looks otherwise, to whomever; `runs` when a run has come, gone or another state."""
    states = [(state.id, state.name, state.status, state.step) for state in (*queue.active, *queue.paused)]
    waiting = [(each.id, each.name, each.priority, each.position) for each in queue.waiting]
    runs = [*(state[::2] for state in states), *(each[0] for each in waiting)]
    return {name: zlib.crc32(repr(told).encode()) for name, told in (("queue", (states, waiting, queue.quiet)), ("runs", runs))}


def _waiting(s: Services, experiment: Experiment, position: int) -> Waiting:
    return Waiting(
        experiment.id, s.store.display_name(experiment), experiment.model, experiment.data, experiment.owner, experiment.group,
        s.store.queue_place(experiment)[0], position, why_not_moved(s, experiment.owner),
    )  # fmt: skip


def why_not_moved(s: Services, owner: str) -> UserError | None:
    """Return why this person may not change the place of somebody's run, None when nothing is against it."""
    rule = s.settings.queue_jump
    if rule == ADMINS:
        return None if s.person.may(ADMIN) else UserError("queue_jump_admins")
    return None if rule != OWN or may_change(s, owner) else UserError("queue_jump_own", owner=owner)


@needs(TRAINER)
def move(s: Services, run_id: str, direction: Literal["up", "down", "first"]) -> None:
    """Let a waiting run change places with its neighbour, or go to the front; it takes over that place's priority.

    Raises UserError `run_not_waiting`, `queue_jump_own`, `queue_jump_admins`.
    """
    line = _line_with(s, run_id)
    here = next(number for number, experiment in enumerate(line) if experiment.id == run_id)
    there = {"up": max(0, here - 1), "down": min(len(line) - 1, here + 1), "first": 0}[direction]
    if there == here:
        return
    rest = [experiment for experiment in line if experiment.id != run_id]
    before, after = (s.store.queue_place(rest[n]) if 0 <= n < len(rest) else None for n in (there - 1, there))
    priority = (after or before or (0, 0.0))[0] if there < here else (before or after or (0, 0.0))[0]
    low = before[1] if before and before[0] == priority else None
    high = after[1] if after and after[0] == priority else None
    rank = _between(low, high)
    if rank not in {low, high}:
        s.store.set_queue_place(run_id, priority, rank)
        return
    rest.insert(there, line[here])  # no number is left between the two: all get new ones
    for number, experiment in enumerate(rest):
        own = priority if experiment.id == run_id else s.store.queue_place(experiment)[0]
        s.store.set_queue_place(experiment.id, own, float(number))


def _between(low: float | None, high: float | None) -> float:
    if low is not None and high is not None:
        return (low + high) / 2
    return low + 1.0 if low is not None else (high or 0.0) - 1.0


@needs(TRAINER)
def set_priority(s: Services, run_id: str, priority: int) -> None:
    """Put a waiting run at the end of those with this priority. Raises UserError `run_not_waiting`, `queue_jump_…`."""
    line = _line_with(s, run_id)
    ranks = [s.store.queue_place(e)[1] for e in line if s.store.queue_place(e)[0] == priority and e.id != run_id]
    s.store.set_queue_place(run_id, priority, _between(max(ranks), None) if ranks else 0.0)


def _line_with(s: Services, run_id: str) -> list[Experiment]:
    s.require_writable()
    line = waiting_line(s.store.all()[0], s.store.queue_place)
    found = next((experiment for experiment in line if experiment.id == run_id), None)
    if not found:
        raise UserError("run_not_waiting", run=run_id)
    if reason := why_not_moved(s, found.owner):
        raise reason
    return line
