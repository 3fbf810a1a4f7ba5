"""What in the data folder cannot be read: lists leave it out, so that it hides no other, and here it is named. Reads, mends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.jobs.job import JobFolders, read_request
from tunesmith.jobs.serving import SHELF as SERVING
from tunesmith.services import jobs, synthesis
from tunesmith.services.context import Services
from tunesmith.store.adapters import AdapterStore
from tunesmith.store.comparisons import ComparisonStore, PromptSetStore
from tunesmith.store.datasets import DatasetStore, require_readable
from tunesmith.store.votes import ArenaStore

SHELVES = (jobs.JOBS, jobs.EVALUATIONS, synthesis.GENERATIONS, SERVING)


@dataclass(frozen=True)
class Damage:
    """A thing that cannot be read, and why; `kind` is run, adapter, dataset, comparison, prompt_set, arena or job."""

    kind: str
    id: str
    error: UserError


def find_damage(s: Services) -> list[Damage]:
    """Return all that cannot be read, by kind."""
    adapters, datasets = AdapterStore(s.data_dir), DatasetStore(s.data_dir)
    comparisons, prompts, arenas = ComparisonStore(s.data_dir), PromptSetStore(s.data_dir), ArenaStore(s.data_dir)
    found = [
        *_try("run", s.store.listing().unreadable, s.store.get),
        *_try("adapter", adapters.ids(), adapters.get),
        *_try("dataset", [folder.name for folder in datasets.folders()], lambda name: require_readable(datasets.root / name)),
        *_try("comparison", comparisons.ids(), comparisons.get),
        *_try("prompt_set", prompts.ids(), prompts.get),
        *_try("arena", arenas.ids(), arenas.get),
    ]
    for shelf in SHELVES:
        folders = JobFolders(s.data_dir / shelf)
        found += _try("job", folders.ids(), partial(_read_request, folders.root))
    return found


def _read_request(root: Path, job_id: str) -> object:
    return read_request(root / job_id)


def _try(kind: str, ids: Iterable[str], read: Callable[[str], object]) -> Iterator[Damage]:
    for each in ids:
        try:
            read(each)
        except UserError as error:
            yield Damage(kind, each, error)
