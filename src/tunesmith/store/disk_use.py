"""How many bytes lie under folders, and in which parts of a run. Links are not followed. Knows file names, not what they are for."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.store.files import read_json
from tunesmith.store.run_folder import RunFolder

TRASH = ".trash"
PARTS = ("checkpoints", "adapter", "rollouts", "logs", "other")
_PART_OF = {
    "checkpoints": "checkpoints", "adapter": "adapter", "best": "adapter", "begin": "adapter", "rollouts.jsonl": "rollouts",
    "metrics.jsonl": "logs", "events.jsonl": "logs", "log.txt": "logs",
}  # fmt: skip
Stamp = tuple[int, int]


@dataclass(frozen=True)
class Size:
    """Bytes in a number of files."""

    bytes: int = 0
    files: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.bytes + other.bytes, self.files + other.files)


@dataclass(frozen=True)
class RunSize:
    """A run's bytes by part, those of each whole checkpoint by its step, and the step of its best validation (0 when there is none)."""

    parts: dict[str, Size]
    checkpoints: dict[int, int] = field(default_factory=dict)
    best_step: int = 0

    @property
    def total(self) -> Size:
        """All of it."""
        return sum(self.parts.values(), Size())

    @property
    def old_steps(self) -> list[int]:
        """The checkpoints that a run can do without, ascending: all but the newest and the one of the best validation."""
        return sorted(self.checkpoints.keys() - {max(self.checkpoints, default=0), self.best_step})

    @property
    def old_bytes(self) -> int:
        """What the checkpoints hold that the run can do without."""
        return sum(self.checkpoints[step] for step in self.old_steps)


def size_of(path: Path, without: Collection[str] = ()) -> Size:
    """Return what lies under a path, its own entries with these names left out; nothing where it is not there or may not be read."""
    found, count = 0, 0
    root = os.fspath(path)
    waiting = [root]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if here == root and entry.name in without:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        found, count = found + entry.stat(follow_symlinks=False).st_size, count + 1
        except OSError:
            continue  # gone meanwhile, or not ours
    return Size(found, count)


def size_of_run(folder: RunFolder) -> RunSize:
    """Return a run's size as it is now."""
    parts = dict.fromkeys(PARTS, Size())
    try:
        with os.scandir(folder.path) as entries:
            for entry in entries:
                inside = entry.is_dir(follow_symlinks=False)
                own = size_of(Path(entry.path)) if inside else Size(entry.stat(follow_symlinks=False).st_size, 1)
                parts[_PART_OF.get(entry.name, "other")] += own
    except OSError:
        pass  # gone meanwhile: what was seen counts
    steps = {step: size_of(folder.checkpoint(step)).bytes for step in folder.checkpoint_steps()}
    return RunSize(parts, steps, _best_step(folder, max(steps)) if len(steps) > 1 else 0)


def _best_step(folder: RunFolder, newest: int) -> int:
    try:
        return int(read_json(folder.checkpoint(newest) / "state.json").get("best_step", 0))
    except (OSError, UserError, AttributeError, TypeError, ValueError):
        return 0


class RunSizes:
    """Counts each ended run once: again only when an entry of its folder, or of its checkpoints, was made, renamed or deleted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[Stamp, RunSize]] = {}

    def of(self, folder: RunFolder, ended: bool) -> RunSize:
        """Return a run's size; files of one that has not ended may grow, so they are counted each time."""
        stamp = (_changed_ns(folder.path), _changed_ns(folder.path / "checkpoints"))
        with self._lock:
            known = self._known.get(folder.path)
        if ended and known and known[0] == stamp:
            return known[1]
        size = size_of_run(folder)
        with self._lock:
            self._known[folder.path] = (stamp, size)
        return size


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
