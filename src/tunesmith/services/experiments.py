"""The list of experiments: what it shows of each run, and what is done with one or with many of them."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.services.context import Services
from tunesmith.services.rights import may_change, needs, require_own
from tunesmith.services.runs import as_error
from tunesmith.store import labels
from tunesmith.store.experiment_index import IndexedRun
from tunesmith.store.experiments import ACTIVE, OCCUPYING, Experiment

SPARKLINE_POINTS = 40


@dataclass(frozen=True)
class ExperimentRow:
    """One line of the list; a figure is None until it is known. `settings` and `figures` go by dotted names."""

    id: str
    name: str
    status: str
    model: str
    method: str
    data: str
    created_at: float
    final_loss: float | None
    best_val_loss: float | None
    reward: float | None
    duration_seconds: float | None
    sparkline: list[float]
    adapter: bool
    error: UserError | None
    owner: str = ""
    group: str = ""
    tags: tuple[str, ...] = ()
    favourite: bool = False
    notes: str = ""
    steps: float | None = None
    tokens: float | None = None
    continued_from: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Whether the run has not ended."""
        return self.status in ACTIVE

    @functools.cached_property
    def words(self) -> str:
        """All that a search looks through, folded."""
        told = (self.name, self.model, self.method, self.data, self.owner, self.group, *self.tags, self.notes, self.id)
        return fold(" ".join(told))


@dataclass(frozen=True)
class ExperimentList:
    """All readable runs, newest first, and the ids of those that cannot be read."""

    rows: list[ExperimentRow]
    unreadable: list[str]


def fold(words: str) -> str:
    """Return words as a search compares them: without case, full-width and half-width alike."""
    return (words if words.isascii() else unicodedata.normalize("NFKC", words)).casefold()


def look(s: Services) -> ExperimentList:
    """Return all runs as they are now."""
    listing = s.store.listing()
    return ExperimentList([row_of(s, run) for run in listing.runs], list(listing.unreadable))


def table(s: Services) -> list[ExperimentRow]:
    """Return all readable runs, newest first."""
    return look(s).rows


def row_of(s: Services, run: IndexedRun) -> ExperimentRow:
    """Return a run's line; the figures of one that is going on come from its curves."""
    row = _recorded(run)
    if run.experiment.status not in OCCUPYING:
        return row
    series = s.series(run.id)
    rewards = series.column("reward")[1]
    summary = {
        "loss_last": series.latest.get("train_loss"), "best_val_loss": series.lowest("val_loss"), "steps": series.latest.get("step"),
        "reward_last": series.latest.get("val_reward", series.latest.get("reward")), "tokens_seen": series.latest.get("tokens_seen"),
        "duration_seconds": series.latest.get("elapsed_seconds"),
    }  # fmt: skip
    curve = (rewards if len(rewards) else series.column("train_loss")[1])[-SPARKLINE_POINTS:].tolist()
    return replace(row, sparkline=curve, **_figures(summary))


@functools.lru_cache(maxsize=20_000)
def _recorded(run: IndexedRun) -> ExperimentRow:
    """Return what the index alone tells; a changed run is another object."""
    experiment = run.experiment
    return ExperimentRow(
        id=run.id, name=run.name, status=experiment.status, model=experiment.model, method=experiment.method, data=experiment.data,
        created_at=experiment.created_at, sparkline=experiment.summary.get("sparkline") or [], adapter=run.adapter,
        error=as_error(experiment.error), owner=experiment.owner, group=run.group, tags=run.tags, favourite=run.favourite, notes=run.notes,
        continued_from=experiment.continued_from, settings=run.settings, **_figures(experiment.summary),
    )  # fmt: skip


def _figures(summary: dict[str, Any]) -> dict[str, Any]:
    known = {name: float(v) for name, v in summary.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {
        "final_loss": None if "reward_last" in known else known.get("loss_last"), "best_val_loss": known.get("best_val_loss"),
        "reward": known.get("reward_last"), "duration_seconds": known.get("duration_seconds"), "steps": known.get("steps"),
        "tokens": known.get("tokens_seen"), "figures": known,
    }  # fmt: skip


def trashed(s: Services) -> list[Experiment]:
    """Return the records of what lies in the trash, newest first."""
    return s.store.trashed()


def trashed_count(s: Services) -> int:
    """Return how many things lie in the trash, readable or not."""
    return s.store.trashed_count()


def name_of(s: Services, run_id: str) -> str:
    """Return what people call a run, its id when it is gone."""
    try:
        return s.store.find(run_id).name
    except UserError:
        return run_id


@needs(TRAINER)
def rename(s: Services, run_id: str, name: str) -> None:
    """Give a run another name. Raises UserError `name_empty`, `name_too_long`, `server_read_only`, `owned_by_another`."""
    s.require_writable()
    require_own(s, s.store.owner(run_id))
    s.store.rename(run_id, name)


@needs(TRAINER)
def change_tags(s: Services, run_ids: Iterable[str], add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
    """Add tags to runs and take others away. Raises UserError `tags_too_many`, `server_read_only`."""
    s.require_writable()
    for run_id in run_ids:
        labels.change_tags(s.store.folder(run_id).path, add, remove)


@needs(TRAINER)
def set_favourite(s: Services, run_ids: Iterable[str], favourite: bool) -> None:
    """Give runs a star, or take it away. Raises UserError `server_read_only`."""
    s.require_writable()
    for run_id in run_ids:
        labels.change_labels(s.store.folder(run_id).path, favourite=favourite)


@needs(TRAINER)
def set_group(s: Services, run_ids: Iterable[str], group: str) -> None:
    """Put runs in a group, with an empty name in none. Raises UserError `name_too_long`, `server_read_only`."""
    s.require_writable()
    for run_id in run_ids:
        labels.set_group(s.store.folder(run_id).path, group)


@needs(TRAINER)
def set_notes(s: Services, run_id: str, notes: str) -> None:
    """Keep notes in Markdown beside a run. Raises UserError `notes_too_long`, `server_read_only`."""
    s.require_writable()
    labels.set_notes(s.store.folder(run_id).path, notes)


@needs(TRAINER)
def trash(s: Services, run_id: str) -> None:
    """Move an ended run to the trash for 7 days. Raises UserError `run_still_active`, `server_read_only`, `owned_by_another`."""
    s.require_writable()
    require_own(s, s.store.owner(run_id))
    s.store.trash(run_id)


@needs(TRAINER)
def restore(s: Services, run_id: str) -> None:
    """Bring a run back from the trash. Raises UserError `run_unknown`, `target_exists`, `server_read_only`, `owned_by_another`."""
    s.require_writable()
    require_own(s, s.store.owner(run_id))
    s.store.restore(run_id)


@needs(TRAINER)
def empty_trash(s: Services) -> None:
    """Delete what lies in the trash, for good: an admin everything, others what is their own or nobody's.

    Raises UserError `server_read_only`.
    """
    s.require_writable()
    s.store.empty_trash(lambda owner: may_change(s, owner))
