"""Generations of rows: jobs of their own worker (`generation_worker`). Knows no model.

`rows.jsonl` and `rejected.jsonl` grow by one line per question, so a killed worker goes on where it stood.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.jobs.job import error_of, read_request, read_status
from tunesmith.store.files import LineTail

WORKER, SHELF = "tunesmith.jobs.generation_worker", "generations"
ROWS, REJECTED = "rows.jsonl", "rejected.jsonl"
QUESTIONS_PER_ROW = 5  # a model that fails this often is not asked for ever
QUESTIONS_AT_LEAST = 20


@dataclass(frozen=True)
class Generation:
    """How far a generation is; `status` is running, stopped (can go on), completed, exhausted, cancelled or failed."""

    id: str
    request: dict[str, Any]
    status: str
    accepted: int
    rejected: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    error: UserError | None
    folder: Path

    @property
    def owner(self) -> str:
        """Who started it; nothing for an old one."""
        return str(self.request.get("owner", ""))

    @property
    def wanted(self) -> int:
        """How many rows are wanted."""
        return int(self.request["rules"]["count"])

    @property
    def seconds_left(self) -> float | None:
        """What the rest takes at the pace so far."""
        return self.seconds / self.accepted * (self.wanted - self.accepted) if self.accepted else None


def read_generation(folder: Path) -> Generation:
    """Return how far a generation is. Raises UserError `store_file_unreadable`."""
    status, end = read_status(folder)  # before its rows: an ended one has them all
    rows, rejected = list(LineTail(folder / ROWS).read_new()), list(LineTail(folder / REJECTED).read_new())
    told = [row["provenance"] for row in rows] + rejected
    return Generation(
        id=folder.name, request=read_request(folder), status=status, accepted=len(rows),
        rejected=dict(Counter(line["code"] for line in rejected).most_common()), prompt_tokens=sum(t["prompt_tokens"] for t in told),
        completion_tokens=sum(t["completion_tokens"] for t in told), seconds=sum(t["seconds"] for t in told),
        error=error_of(end), folder=folder,
    )  # fmt: skip
