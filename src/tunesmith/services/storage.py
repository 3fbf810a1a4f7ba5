"""What takes the disk, by kind and by run, and what can be cleaned up. Counting goes on in a thread; all who look share one count."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.access.people import ADMIN, TRAINER
from tunesmith.errors import UserError
from tunesmith.jobs.job import used_by_jobs
from tunesmith.services import exports, jobs
from tunesmith.services.context import Services
from tunesmith.services.experiments import ExperimentRow, table
from tunesmith.services.exports import Made
from tunesmith.services.models import made_models_folder
from tunesmith.services.rights import may_change, needs, require_own
from tunesmith.services.run_family import parent_of
from tunesmith.services.serving import list_servers
from tunesmith.store import uploads
from tunesmith.store.disk_use import PARTS, TRASH, RunSize, RunSizes, Size, size_of, size_of_run
from tunesmith.store.locks import ProcessLock
from tunesmith.store.trash import empty
from tunesmith.system.memory import disk_free_bytes

logger = logging.getLogger(__name__)
CACHE = "cache"
_KINDS: Mapping[str, tuple[str, ...]] = {  # folders of the data folder
    "adapters": ("adapters",), "datasets": ("datasets", "generations"), "exports": ("exports",),
    "evaluations": ("evaluations", "tasks"), "models": ("models",),
    "conversations": ("comparisons", "prompt_sets", "arena"), "jobs": ("jobs", "serving"), "uploads": uploads.FOLDERS,
    "cache": (CACHE,),
}  # fmt: skip


@dataclass(frozen=True)
class RunUse:
    """What a run takes, and why its old checkpoints must stay (None: they may go)."""

    id: str
    name: str
    owner: str
    status: str
    created_at: float
    size: RunSize
    kept: UserError | None

    @property
    def freeable_bytes(self) -> int:
        """What a clean-up of its checkpoints frees."""
        return 0 if self.kept else self.size.old_bytes


@dataclass(frozen=True)
class StorageReport:
    """The disk at one moment: sizes by kind (runs by their parts), runs from the largest down, free bytes, when and how long counted."""

    kinds: dict[str, Size]
    runs: list[RunUse]
    free_bytes: int
    counted_at: float
    seconds: float

    @property
    def total(self) -> Size:
        """All that the app holds."""
        return sum(self.kinds.values(), Size())


class _Count:
    """One count of a data folder at a time, in the background; the last one is kept."""

    def __init__(self) -> None:
        self.sizes = RunSizes()
        self.report: StorageReport | None = None
        self.share = 0.0
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether it counts now."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, count: Callable[[_Count], StorageReport]) -> None:
        """Count, unless somebody has begun to."""
        with self._lock:
            if self.running:
                return
            self.share = 0.0
            self._thread = threading.Thread(target=self._run, args=(count,), name="tunesmith-storage", daemon=True)
            self._thread.start()

    def _run(self, count: Callable[[_Count], StorageReport]) -> None:
        try:
            self.report = count(self)
        except Exception:  # a folder that vanishes meanwhile must not leave the page waiting
            logger.exception("counting the disk failed")

    def wait(self, seconds: float) -> None:
        """Wait so long for the end."""
        if self._thread is not None:
            self._thread.join(seconds)


@functools.lru_cache(maxsize=8)
def _count_of(data_dir: Path) -> _Count:
    del data_dir  # the key
    return _Count()


def begin_count(s: Services, wait_seconds: float = 0.3) -> None:
    """Count the disk in the background; small stores are done when this returns."""
    count = _count_of(s.data_dir)
    count.begin(lambda own: _count(s, own))
    count.wait(wait_seconds)


def last_report(s: Services) -> StorageReport | None:
    """Return the last count, None before there was one."""
    return _count_of(s.data_dir).report


def share_counted(s: Services) -> float | None:
    """Return how much of a count that goes on is done (0..1), None when none does."""
    count = _count_of(s.data_dir)
    return count.share if count.running else None


def _count(s: Services, own: _Count) -> StorageReport:
    began, clock = time.time(), time.monotonic()
    rows = table(s)
    kept = _reasons_to_keep(s, rows)
    runs = []
    for number, row in enumerate(rows, 1):
        size = own.sizes.of(s.store.folder(row.id), ended=not row.active)
        runs.append(RunUse(row.id, row.name, row.owner, row.status, row.created_at, size, kept.get(row.id)))
        own.share = 0.9 * number / len(rows)
    kinds = {f"run_{part}": sum((run.size.parts[part] for run in runs), Size()) for part in PARTS}
    for kind, names in _KINDS.items():
        kinds[kind] = sum((size_of(s.data_dir / name, without=(TRASH,)) for name in names), Size())
    if (chosen := exports.exports_folder(s)) != s.data_dir / "exports":
        kinds["exports"] += size_of(chosen)
    kinds["trash"] = sum(map(size_of, _trash_folders(s)), Size())
    kinds["rest"] = _rest(s)
    runs.sort(key=lambda run: run.size.total.bytes, reverse=True)
    return StorageReport(kinds, runs, disk_free_bytes(s.data_dir), began, time.monotonic() - clock)


def _rest(s: Services) -> Size:
    """Return what lies in the data folder and is of no kind: logs, locks, records, files that are not ours."""
    counted = {TRASH, "experiments", *(name for names in _KINDS.values() for name in names)}
    return size_of(s.data_dir, without=counted)


def _trash_folders(s: Services) -> list[Path]:
    return [path for path in (s.data_dir / TRASH, *s.data_dir.glob(f"*/{TRASH}")) if path.is_dir()]


def _reasons_to_keep(s: Services, rows: Sequence[ExperimentRow]) -> dict[str, UserError]:
    """Return why the old checkpoints of some runs must stay: they go on, others go on from them, or somebody asks one just now."""
    found = {parent_of(row): UserError("run_is_continued", run=row.name) for row in rows if parent_of(row)}
    asked = " ".join(_paths_at_work(s))
    found |= {row.id: UserError("run_is_asked") for row in rows if asked and f"/{row.id}/" in asked}
    return found | {row.id: UserError("run_still_active", run=row.id) for row in rows if row.active}


def _paths_at_work(s: Services) -> Iterator[str]:
    """Yield what running jobs and model servers were given to work with."""
    for _, texts in jobs.at_work(s):
        yield from texts
    yield from (str(server.adapter_path) for server in list_servers(s) if server.status in {"starting", "ready"})


def cleanable(s: Services, report: StorageReport, run_ids: Sequence[str] = ()) -> list[RunUse]:
    """Return the runs (of these, or of all) whose old checkpoints this person may delete, the largest first."""
    chosen = set(run_ids)
    return [run for run in report.runs if run.freeable_bytes and (not chosen or run.id in chosen) and may_change(s, run.owner)]


@needs(TRAINER)
def delete_old_checkpoints(s: Services, run_ids: Sequence[str]) -> int:
    """Delete the checkpoints of ended runs but the newest whole one and that of the best validation; return the bytes freed.

    The run's `best` and its adapter stay. Raises UserError `owned_by_another`, `run_still_active`, `run_is_continued`, `run_is_asked`,
    `server_read_only` before anything is deleted; a run that begins meanwhile is left alone.
    """
    s.require_writable()
    kept = _reasons_to_keep(s, table(s))
    for run_id in run_ids:
        require_own(s, s.store.get(run_id).owner)
        if reason := kept.get(run_id):
            raise reason
    return sum(_delete_old(s, run_id) for run_id in run_ids)


def _delete_old(s: Services, run_id: str) -> int:
    lock = ProcessLock(s.store.run_lock(run_id))
    if not lock.acquire():
        return 0  # a worker has just taken it
    try:
        folder = s.store.folder(run_id)
        size = size_of_run(folder)
        for step in size.old_steps:
            folder.drop_checkpoint(step)
        return size.old_bytes
    finally:
        lock.release()


@needs(ADMIN)
def empty_trash(s: Services) -> int:
    """Delete all that lies in the trash, of runs, data, adapters and whatever else has one; return the bytes freed.

    Raises UserError `server_read_only`.
    """
    s.require_writable()
    return sum(map(_emptied, _trash_folders(s)))


@needs(ADMIN)
def clear_uploads(s: Services) -> int:
    """Delete uploads that nobody touched for a day and no job works with; return the bytes freed. Raises UserError `server_read_only`."""
    s.require_writable()
    before = _size_of_uploads(s)
    uploads.drop_left(s.data_dir, used_by_jobs(s.data_dir))
    return before - _size_of_uploads(s)


def _size_of_uploads(s: Services) -> int:
    return sum(size_of(s.data_dir / name).bytes for name in uploads.FOLDERS)


@needs(ADMIN)
def clear_cache(s: Services) -> int:
    """Delete what can be made again from the records; return the bytes freed. Raises UserError `server_read_only`."""
    s.require_writable()
    folder = s.data_dir / CACHE
    return _emptied(folder) if folder.is_dir() else 0


def _emptied(folder: Path) -> int:
    before = size_of(folder).bytes
    empty(folder)
    return before - size_of(folder).bytes


def list_exports(s: Services) -> list[Made]:
    """Return the exports, newest first; models have a trash of their own."""
    return [made for made in exports.list_made(s) if made.path.parent != made_models_folder(s)]


@needs(TRAINER)
def delete_exports(s: Services, export_ids: Sequence[str]) -> int:
    """Delete exports (by their paths); return the bytes freed.

    Raises UserError `export_unknown`, `owned_by_another`, `server_read_only`.
    """
    known = {str(made.path): made for made in list_exports(s)}
    for export_id in export_ids:
        if export_id not in known:
            raise UserError("export_unknown", name=Path(export_id).name)
        require_own(s, known[export_id].owner)
    for export_id in export_ids:
        exports.delete(s, known[export_id])
    return sum(known[export_id].size_bytes for export_id in export_ids)
