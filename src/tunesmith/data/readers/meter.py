"""What a reading may use, and the count of what it has used. Knows no format."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tunesmith.errors import UserError


@dataclass(frozen=True)
class Budget:
    """What a reading may use at most; `bytes` are decompressed, `field_bytes` are those of one field or line."""

    bytes: int = 2_000_000_000
    rows: int = 2_000_000
    seconds: float = 600.0
    field_bytes: int = 5_000_000


class Meter:
    """Counts against a budget. The time that the caller spends on a row is not reading time: `paused_seconds` takes it off."""

    def __init__(self, budget: Budget, file: str) -> None:
        self.budget = budget
        self.file = file
        self.bytes = 0
        self.rows = 0
        self.paused_seconds = 0.0
        self._began = time.perf_counter()

    def add_bytes(self, count: int) -> None:
        """Count decompressed bytes. Raises UserError `data_too_large`, `data_too_slow`."""
        self.bytes += count
        if self.bytes > self.budget.bytes:
            raise UserError("data_too_large", file=self.file, most_bytes=self.budget.bytes)
        self.check_time()

    def check_time(self) -> None:
        """Raise UserError `data_too_slow` when the reading has taken longer than its budget."""
        if time.perf_counter() - self._began - self.paused_seconds > self.budget.seconds:
            raise UserError("data_too_slow", file=self.file, seconds=self.budget.seconds)

    def add_rows(self, count: int) -> None:
        """Count rows and problems. Raises UserError `data_too_many_rows`."""
        self.rows += count
        if self.rows > self.budget.rows:
            raise self.refuse_more_rows()

    def refuse_more_rows(self) -> UserError:
        """Return the UserError `data_too_many_rows`."""
        return UserError("data_too_many_rows", file=self.file, most=self.budget.rows)
