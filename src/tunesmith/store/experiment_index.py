"""What lists need of every run, without opening thousands of files: record, labels, settings, whether there is an adapter.

A cache in one file, `<data dir>/cache/experiments.jsonl`: each run carries the stamps of the files that it was read from, and is read
again when one of them has changed. So the file may be old, torn, of another version or gone at any time. One file that is read and
replaced whole holds no lock and no transactions; opening a list of 5,000 runs with it takes 0.4 s. Knows no pages and no processes.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import orjson

from tunesmith.errors import UserError
from tunesmith.settings.files import flatten, load_yaml
from tunesmith.store.experiment_record import Experiment, read_record
from tunesmith.store.files import write_atomic
from tunesmith.store.labels import read_labels, tags_in
from tunesmith.store.run_folder import RunFolder

INDEX_VERSION = 1
SAVE_AFTER = 50  # so many runs are sooner read again than the file is written
Stamp = tuple[int, int, int]
NO_FILE: Stamp = (0, 0, 0)
_RUN = RunFolder(Path())
_RECORD, _LABELS, _ADAPTER = str(_RUN.record), str(_RUN.labels), str(_RUN.manifest)


@dataclass(frozen=True, eq=False)
class IndexedRun:
    """A run as it was read. Settings have dotted names (`lora_parameters.rank`).

    A stamp is a file's (modification time in ns, bytes, inode): the one that was there before the file was read.
    """

    id: str
    record_stamp: Stamp
    labels_stamp: Stamp
    adapter: bool
    experiment: Experiment
    labels: dict[str, Any]
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """What people call it, by default what its record does."""
        return str(self.labels.get("name") or self.experiment.name)

    @property
    def group(self) -> str:
        """The group that people put it in, by default that of its sweep; empty for none."""
        return str(self.labels.get("group", self.experiment.group))

    @property
    def tags(self) -> tuple[str, ...]:
        """People's tags."""
        return tags_in(self.labels)

    @property
    def favourite(self) -> bool:
        """Whether somebody gave it a star."""
        return self.labels.get("favourite") is True

    @property
    def notes(self) -> str:
        """People's notes, in Markdown."""
        return str(self.labels.get("notes") or "")


@dataclass(frozen=True)
class Listing:
    """All runs of a store: the readable ones, newest first, and the ids of the others."""

    runs: Sequence[IndexedRun] = ()
    unreadable: Sequence[str] = ()


_LAYOUT = [[f.name for f in dataclasses.fields(cls)] for cls in (IndexedRun, Experiment)]


class ExperimentIndex:
    """Looks at the runs of a folder; threads take turns, processes need not know of each other."""

    def __init__(self, experiments: Path, file: Path) -> None:
        self._experiments = experiments
        self._file = file
        self._lock = threading.Lock()
        self._runs: dict[str, IndexedRun] = {}
        self._opened = False
        self._unsaved: set[str] = set()
        self._listing: Listing | None = None

    def listing(self, settled: Callable[[IndexedRun], bool] | None = None) -> Listing:
        """Return all runs as they are now; files of those that are `settled` are not looked at again."""
        with self._lock:
            if not self._opened:
                self._runs, self._opened = _read_file(self._file) | self._runs, True
            runs, unreadable = self._walk(settled)
            if self._listing is None or runs != self._runs or unreadable != self._listing.unreadable:
                self._runs, self._listing = runs, Listing(_newest_first(runs.values()), unreadable)
            if len(self._unsaved) >= SAVE_AFTER:
                self._save()
            return self._listing

    def run(self, run_id: str) -> IndexedRun:
        """Return one run as it is now; its id is a folder's name. Does not open the cache's file.

        Raises UserError `store_file_unreadable`, `store_too_new`.
        """
        with self._lock:
            folder = os.open(self._experiments, os.O_RDONLY)
            try:
                run = self._look(folder, run_id)
            finally:
                os.close(folder)
            if self._runs.get(run_id) is not run:
                self._runs[run_id] = run
                self._listing = None
            return run

    def having(self, path: Path, experiments: Iterable[Experiment]) -> list[Experiment]:
        """Return the runs that have a file at a path inside their folder: one look at each, cheap enough for thousands."""
        folder = os.open(self._experiments, os.O_RDONLY)
        try:
            return [each for each in experiments if _stamp(folder, f"{each.id}/{path}") != NO_FILE]
        finally:
            os.close(folder)

    def _walk(self, settled: Callable[[IndexedRun], bool] | None) -> tuple[dict[str, IndexedRun], list[str]]:
        found: dict[str, IndexedRun] = {}
        unreadable: list[str] = []
        folder = os.open(self._experiments, os.O_RDONLY)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith(".") or not entry.is_dir(follow_symlinks=False):
                        continue
                    known = self._runs.get(name)
                    try:
                        found[name] = known if known and settled and settled(known) else self._look(folder, name)
                    except UserError:
                        unreadable.append(name)
        finally:
            os.close(folder)
        self._unsaved &= found.keys()
        return found, sorted(unreadable)

    def _look(self, folder: int, name: str) -> IndexedRun:
        """Return what is known of a run while its files are the same, else read it."""
        known = self._runs.get(name)
        record, labels = _stamp(folder, f"{name}/{_RECORD}"), _stamp(folder, f"{name}/{_LABELS}")
        adapter = _stamp(folder, f"{name}/{_ADAPTER}") != NO_FILE
        if known and (known.record_stamp, known.labels_stamp, known.adapter) == (record, labels, adapter):
            return known
        run = RunFolder(self._experiments / name)
        experiment = read_record(run)
        same = known and known.experiment.config_sha256 == experiment.config_sha256
        settings = known.settings if known and same else _read_settings(run)
        self._unsaved.add(name)
        return IndexedRun(name, record, labels, adapter, experiment, read_labels(run.path), settings)

    def _save(self) -> None:
        self._unsaved.clear()
        try:
            body = orjson.dumps(list(self._runs.values()))
            head = orjson.dumps({"v": INDEX_VERSION, "layout": _LAYOUT, "crc32": zlib.crc32(body)})
            self._file.parent.mkdir(exist_ok=True, mode=0o700)
            write_atomic(self._file, head + b"\n" + body)
        except (UserError, OSError, TypeError):
            return  # without the file the next process reads the runs themselves


def _stamp(folder: int, path: str) -> Stamp:
    try:
        state = os.stat(path, dir_fd=folder)
    except OSError:
        return NO_FILE
    return state.st_mtime_ns, state.st_size, state.st_ino


def _read_settings(folder: RunFolder) -> dict[str, Any]:
    """Return a run's settings as they will come back from the file, nothing where they cannot be read."""
    try:
        values = flatten(load_yaml(folder.config))
        kept: dict[str, Any] = orjson.loads(orjson.dumps(values, default=str, option=orjson.OPT_NON_STR_KEYS))
    except (UserError, ValueError, TypeError, RecursionError):
        return {}
    return kept


def _newest_first(runs: Iterable[IndexedRun]) -> tuple[IndexedRun, ...]:
    return tuple(sorted(runs, key=lambda run: (run.experiment.created_at, run.id), reverse=True))


def _read_file(file: Path) -> dict[str, IndexedRun]:
    """Return the runs in the file, none when it is not there, not whole, or not of this version."""
    collecting = gc.isenabled()
    gc.disable()  # so many new objects, no garbage among them: collecting would double the time
    try:
        if not file.is_file():
            return {}
        head, _, body = file.read_bytes().partition(b"\n")
        told = orjson.loads(head)
        if (told["v"], told["layout"], told["crc32"]) != (INDEX_VERSION, _LAYOUT, zlib.crc32(body)):
            return {}
        return {run.id: run for run in msgspec.json.decode(body, type=list[IndexedRun])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    finally:
        if collecting:
            gc.enable()
