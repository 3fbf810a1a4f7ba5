"""What this computer does at the moment: load, memory, graphics processor, heat, our own processes, the engine of the run.

What many viewers look at is read once for all of them.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.services.context import Services
from tunesmith.store.experiments import OCCUPYING
from tunesmith.system import activity
from tunesmith.system.activity import Battery, LoadSample
from tunesmith.system.gpu import Gpu, read_gpus
from tunesmith.system.memory import disk_free_bytes
from tunesmith.system.own_processes import ProcessUse, own_processes
from tunesmith.system.thermal import hottest_celsius, speed_limit_percent

SEEN_SECONDS, GPU_SECONDS = 2.0, 5.0  # for how long a look counts


@dataclass(frozen=True)
class EngineUse:
    """MLX's own account of its memory, by the running worker's last report; None before the first, or of a run of an older version."""

    run_id: str
    run_name: str
    active_bytes: float | None
    cache_bytes: float | None
    peak_bytes: float | None


@dataclass(frozen=True)
class Activity:
    """The computer now, and the samples of the last minutes, oldest first. `speed_percent` below 100: heat slows it down."""

    samples: Sequence[LoadSample]
    load_average: tuple[float, float, float] | None
    processes: Sequence[ProcessUse]
    engines: Sequence[EngineUse]
    gpus: Sequence[Gpu]
    celsius: float | None
    speed_percent: int
    battery: Battery | None
    disk_free_bytes: int
    up_seconds: float

    @property
    def now(self) -> LoadSample:
        """The newest sample."""
        return self.samples[-1]


def watch() -> None:
    """Begin to sample the load, so that whoever looks later sees the last minutes."""
    activity.load_history().start()


def look(s: Services) -> Activity:
    """Return what the computer does now."""
    watch()
    seconds = time.monotonic()
    processes, battery, celsius = _seen(s.data_dir, int(seconds / SEEN_SECONDS))
    return Activity(
        samples=activity.load_history().samples, load_average=activity.load_average(), processes=processes, engines=_engines(s),
        gpus=_gpus(int(seconds / GPU_SECONDS)), celsius=celsius, speed_percent=speed_limit_percent(), battery=battery,
        disk_free_bytes=disk_free_bytes(s.data_dir), up_seconds=activity.up_seconds(),
    )  # fmt: skip


@functools.lru_cache(maxsize=4)
def _seen(data_dir: Path, moment: int) -> tuple[list[ProcessUse], Battery | None, float | None]:
    del moment  # the key
    return own_processes(data_dir), activity.read_battery(), hottest_celsius()


@functools.lru_cache(maxsize=1)
def _gpus(moment: int) -> list[Gpu]:
    del moment
    return read_gpus()


def _engines(s: Services) -> list[EngineUse]:
    found = []
    for experiment in s.store.unsettled():
        if experiment.status in OCCUPYING:
            latest = s.series(experiment.id).latest
            told = (latest.get(f"{name}_memory_bytes") for name in ("active", "cache", "peak"))
            found.append(EngineUse(experiment.id, s.store.display_name(experiment), *told))
    return found
