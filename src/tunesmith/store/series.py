"""A run's metrics as columns, read once and followed by offset; one shared reader per run. Knows names of no method."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tunesmith.store.files import LineTail

Floats = npt.NDArray[np.float64]


class MetricSeries:
    """Columns (step, value) of metrics.jsonl. A newer attempt replaces the points from its first step on; `attempt` is the newest one's."""

    def __init__(self, path: Path) -> None:
        self._tail = LineTail(path)
        self._lock = threading.Lock()
        self._columns: dict[str, tuple[list[float], list[float]]] = {}
        self.attempt = 0
        self._heard_at = time.monotonic()
        self.latest: dict[str, Any] = {}
        self.first: dict[str, Any] = {}
        self.rev = 0

    @property
    def bad_lines(self) -> int:
        """How many lines could not be read."""
        return self._tail.bad_lines

    def refresh(self) -> int:
        """Read what is new; return the revision: the number of records read."""
        with self._lock:
            for record in self._tail.read_new():
                self._add(record)
                self._heard_at = time.monotonic()
        return self.rev

    @property
    def silent_seconds(self) -> float:
        """How long nothing new has been read."""
        return time.monotonic() - self._heard_at

    def _add(self, record: dict[str, Any]) -> None:
        step, attempt = record.get("step"), record.get("attempt", 1)
        if not isinstance(step, int) or not isinstance(attempt, int):
            self._tail.bad_lines += 1
            return
        if attempt > self.attempt:
            self.attempt = attempt
            self._drop_from(step + 1 if record.get("resumed") else step)
        if record.get("resumed"):
            self.rev += 1
            return
        for name, value in record.items():
            if name in {"v", "seq", "attempt", "step"} or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            steps, values = self._columns.setdefault(name, ([], []))
            steps.append(step)
            values.append(value)
            self.latest[name] = value
            self.first.setdefault(name, value)
        self.latest["step"] = step
        self.rev += 1

    def _drop_from(self, step: int) -> None:
        for steps, values in self._columns.values():
            keep = len(steps)
            while keep and steps[keep - 1] >= step:
                keep -= 1
            del steps[keep:], values[keep:]

    def column(self, name: str) -> tuple[Floats, Floats]:
        """Return the steps and values of one metric, both [points]; empty when it was never recorded."""
        with self._lock:
            steps, values = self._columns.get(name, ([], []))
            return np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)

    @property
    def names(self) -> list[str]:
        """The names of the metrics so far."""
        with self._lock:
            return list(self._columns)

    def lowest(self, name: str) -> float | None:
        """Return the smallest value of a metric so far."""
        _, values = self.column(name)
        return float(values.min()) if len(values) else None


def thin(steps: Floats, values: Floats, points: int) -> tuple[Floats, Floats]:
    """Return at most `points` of a curve: first, last, and each bucket's smallest and largest, so that no spike is lost."""
    if len(steps) <= points:
        return steps, values
    buckets = np.array_split(np.arange(len(steps)), max(1, points // 2 - 1))
    chosen = {0, len(steps) - 1}
    for bucket in buckets:
        chosen.update((int(bucket[values[bucket].argmin()]), int(bucket[values[bucket].argmax()])))
    index = np.array(sorted(chosen))
    return steps[index], values[index]
