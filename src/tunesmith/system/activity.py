"""What the processor and the memory do, sampled by one light thread whoever looks; the last minutes are kept. Knows no pages, no mlx."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections import deque
from dataclasses import dataclass

import psutil

EVERY_SECONDS, FIRST_SECONDS = 2.0, 0.2
KEPT_SAMPLES = 150  # five minutes
_BEGAN = time.monotonic()


@dataclass(frozen=True)
class LoadSample:
    """One moment: unix time, percent of each core, bytes of memory and swap in use."""

    at: float
    cores_percent: tuple[float, ...]
    memory_used_bytes: int
    memory_total_bytes: int
    swap_used_bytes: int
    swap_total_bytes: int

    @property
    def cpu_percent(self) -> float:
        """The mean over the cores."""
        return sum(self.cores_percent) / max(1, len(self.cores_percent))

    @property
    def memory_percent(self) -> float:
        """The share of the memory in use."""
        return 100 * self.memory_used_bytes / max(1, self.memory_total_bytes)


def sample_load() -> LoadSample:
    """Return the present moment; percents of the cores are those since the last sample. Takes under a millisecond."""
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    cores = tuple(psutil.cpu_percent(percpu=True))
    return LoadSample(time.time(), cores, memory.total - memory.available, memory.total, swap.used, swap.total)


class LoadHistory:
    """Samples from its start on, and keeps the last five minutes."""

    def __init__(self, every_seconds: float = EVERY_SECONDS) -> None:
        self._every_seconds = every_seconds
        self._samples: deque[LoadSample] = deque(maxlen=KEPT_SAMPLES)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to sample; a second call changes nothing."""
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="tunesmith-load", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        sample_load()  # percents are those since this thread's last look
        wait = FIRST_SECONDS
        while True:
            time.sleep(wait)
            self._samples.append(sample_load())
            wait = self._every_seconds

    @property
    def samples(self) -> list[LoadSample]:
        """The samples of the last minutes, oldest first; at least one."""
        return list(self._samples) or [sample_load()]


@functools.cache
def load_history() -> LoadHistory:
    """Return this process's one history."""
    return LoadHistory()


def load_average() -> tuple[float, float, float] | None:
    """Return the mean number of processes that wanted a core in the last 1, 5 and 15 minutes, None where the system has no such figure."""
    try:
        return os.getloadavg()
    except (OSError, AttributeError):
        return None


@dataclass(frozen=True)
class Battery:
    """How full it is, and whether the computer is plugged in (None: unknown)."""

    percent: float
    plugged: bool | None


def read_battery() -> Battery | None:
    """Return the battery, None of a computer without one."""
    found = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return Battery(float(found.percent), found.power_plugged) if found else None


def up_seconds() -> float:
    """Return how long this process has stood, whatever happened to the clock."""
    return time.monotonic() - _BEGAN
