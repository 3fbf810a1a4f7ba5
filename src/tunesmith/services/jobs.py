"""Jobs beside training runs: start, follow, cancel, start again, forget.

A job lies on a shelf of the data folder: `jobs` for what may be forgotten, `evaluations` for jobs whose folder holds what they found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tunesmith.access.people import TRAINER
from tunesmith.jobs import job as job_files
from tunesmith.jobs.job import Job, JobFolders, kind_of, read_job
from tunesmith.services.context import Services
from tunesmith.services.rights import needs, require_own
from tunesmith.system.memory import require_space

WORKER = "tunesmith.jobs.job_worker"
JOBS, EVALUATIONS = job_files.JOBS, job_files.EVALUATIONS


@needs(TRAINER)
def start(
    s: Services, kind: str, request: Mapping[str, Any], needed_bytes: int = 0, environment: Mapping[str, str] | None = None,
    shelf: str = JOBS,
) -> str:  # fmt: skip
    """Write a job down, start its worker with what it needs of our environment, and return its id; works beside an open app.

    Raises UserError `disk_nearly_full`, `disk_full`.
    """
    target = request.get("target_path")
    require_space(Path(target).parent if target else s.data_dir, needed_bytes)
    folders = _folders(s, shelf)
    places = {"kind": kind, "owner": s.person.name, "data_dir": str(s.data_dir), "slot": str(s.store.locks / "accelerator.lock")}
    return folders.start({**request, **places}, WORKER, environment)


@needs(TRAINER)
def start_again(s: Services, job_id: str, shelf: str = JOBS, environment: Mapping[str, str] | None = None) -> None:
    """Launch an ended job again: it goes on from what its folder holds. Raises UserError `job_unknown`, `job_running`."""
    job_files.launch(_folders(s, shelf).folder(job_id), WORKER, environment)


def _folders(s: Services, shelf: str) -> JobFolders:
    return JobFolders(s.data_dir / shelf)


def list_jobs(s: Services, *kinds: str, most: int | None = None, shelf: str = JOBS) -> list[Job]:
    """Return the jobs of these kinds (all without any), newest first, `most` of them at most."""
    wanted = (folder for folder in _folders(s, shelf).all() if not kinds or kind_of(folder) in kinds)
    return [read_job(folder) for folder in islice(wanted, most)]


def at_work(s: Services) -> Iterator[tuple[Job, list[str]]]:
    """Yield each running job of every shelf, with all words of its request: paths of what it works with among them."""
    yield from job_files.at_work(s.data_dir)


def find_job(s: Services, job_id: str, shelf: str = JOBS) -> Job:
    """Return one job. Raises UserError `job_unknown`."""
    return read_job(_folders(s, shelf).folder(job_id))


@needs(TRAINER)
def cancel(s: Services, job_id: str, shelf: str = JOBS) -> None:
    """Ask a job to end; nothing half made stays. Raises UserError `job_unknown`."""
    job_files.cancel(_folders(s, shelf).folder(job_id))


@needs(TRAINER)
def forget(s: Services, job_id: str, shelf: str = JOBS) -> None:
    """Delete what is known of an ended job; what it made stays. Raises UserError `job_unknown`, `job_running`, `owned_by_another`."""
    require_own(s, find_job(s, job_id, shelf).owner)
    _folders(s, shelf).delete(job_id)


def log_tail(s: Services, job_id: str, lines: int = 40, shelf: str = JOBS) -> list[str]:
    """Return the last lines of a job's log. Raises UserError `job_unknown`."""
    path: Path = _folders(s, shelf).folder(job_id) / job_files.LOG
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:] if path.exists() else []
