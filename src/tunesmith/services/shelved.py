"""What lies on the shelf of evaluations: jobs whose folder holds what they found. Find one, name it, let it go on, delete it.

Knows no kind of them: scores are `evaluations`' and judgements `judging`'s business, benchmarks `benchmarks`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.jobs.job import Job
from tunesmith.services import jobs
from tunesmith.services.context import Services
from tunesmith.services.rights import needs, require_own
from tunesmith.store.labels import in_one_line, read_labels, set_name

LONGEST_DEFAULT_NAME = 80


@dataclass(frozen=True)
class Shelved:
    """A job on the shelf, and what people call it."""

    job: Job
    name: str

    @property
    def id(self) -> str:
        """Its id, the job's."""
        return self.job.id

    @property
    def created_at(self) -> float:
        """When it was begun, in unix seconds."""
        return self.job.created_at

    @property
    def variants(self) -> dict[str, dict[str, Any]]:
        """The records of those that are asked by key, in the order chosen."""
        return {variant["key"]: variant for variant in self.job.request["variants"]}


def name_of(job: Job) -> str:
    """Return what people call it: what they wrote last, else the name that it began with."""
    return str(read_labels(job.folder).get("name") or job.request["name"])


def first_name(wish: str, made: str) -> str:
    """Return the name to begin with: the one wished for, in one line, else the made one, cut. Raises UserError `name_too_long`."""
    return in_one_line(wish) or made[:LONGEST_DEFAULT_NAME]


def find_kept(s: Services, job_id: str, kind: str) -> Job:
    """Return one job of a kind. Raises UserError `evaluation_unknown`."""
    try:
        job = jobs.find_job(s, job_id, jobs.EVALUATIONS)
    except UserError as error:
        raise UserError("evaluation_unknown", evaluation=job_id) from error
    if job.kind != kind:
        raise UserError("evaluation_unknown", evaluation=job_id)
    return job


@needs(TRAINER)
def rename(s: Services, job_id: str, name: str) -> None:
    """Give it another name. Raises UserError `job_unknown`, `name_empty`, `name_too_long`, `owned_by_another`."""
    s.require_writable()
    job = jobs.find_job(s, job_id, jobs.EVALUATIONS)
    require_own(s, job.owner)
    set_name(job.folder, name)


@needs(TRAINER)
def delete(s: Services, job_id: str) -> None:
    """Delete an ended one with all that it found. Raises UserError `job_unknown`, `job_running`, `owned_by_another`."""
    s.require_writable()
    jobs.forget(s, job_id, jobs.EVALUATIONS)


@needs(TRAINER)
def resume(s: Services, job_id: str, environment: Mapping[str, str] | None = None) -> None:
    """Let an ended one go on: what has its answer is not asked again; works beside an open app.

    Raises UserError `job_unknown`, `job_running`.
    """
    jobs.start_again(s, job_id, jobs.EVALUATIONS, environment)
