"""Experiments: records, legal transitions, trash. Knows no processes and no training.

Only the supervisor changes a record after its creation; pages and command line put requests in the run's mailbox.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.store.experiment_index import ExperimentIndex, IndexedRun, Listing
from tunesmith.store.experiment_record import ACTIVE, OCCUPYING, RESUMABLE, TERMINAL, TRANSITIONS, Experiment, read_record, write_record
from tunesmith.store.files import as_user_error, copy_into, put_in_place, read_json, sha256_of, staged_folder, write_atomic, write_json
from tunesmith.store.ids import new_id
from tunesmith.store.labels import change_labels, read_labels, set_name
from tunesmith.store.locks import ProcessLock, exclusively
from tunesmith.store.migrations import SCHEMA_VERSION, migrate
from tunesmith.store.run_folder import RunFolder
from tunesmith.store.trash import bring_back, empty, owner_in, purge_older, throw_away, thrown
from tunesmith.system.paths import resolve_under

__all__ = ["ACTIVE", "OCCUPYING", "RESUMABLE", "TERMINAL", "TRANSITIONS", "Experiment", "ExperimentStore"]


class ExperimentStore:
    """All experiments under one data folder (mode 0700, on a local volume)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.experiments = root / "experiments"
        self.trash_folder = root / ".trash"
        self.locks = root / "locks"
        for folder in (root, self.experiments, self.trash_folder, self.locks):
            _make_private(folder)
        self._index = ExperimentIndex(self.experiments, root / "cache" / "experiments.jsonl")
        self.store_id = self._open_store_file()

    def _open_store_file(self) -> str:
        path = self.root / "store.json"
        with exclusively(self.locks / "store.lock"):  # servers that start at the same moment agree on the id
            if not path.exists() and not path.is_symlink():
                write_json(path, {"schema_version": SCHEMA_VERSION, "store_id": secrets.token_hex(8)})
        try:
            return str(migrate(read_json(path), path.name)["store_id"])
        except (FileNotFoundError, KeyError) as error:
            raise UserError("store_damaged", folder=str(self.root), reason=str(error)) from error
        except UserError as error:
            if error.code == "store_too_new":
                raise
            raise UserError("store_damaged", folder=str(self.root), reason=error.facts["reason"]) from error

    def folder(self, run_id: str) -> RunFolder:
        """Return the files of a run. Raises UserError `run_unknown`, `name_not_allowed`."""
        path = resolve_under(self.experiments, run_id)
        if not path.is_dir():
            raise UserError("run_unknown", run=run_id)
        return RunFolder(path)

    def create(
        self, config_yaml: str, begin_from: RunFolder | None = None, attachments: Mapping[str, Path] | None = None, **facts: Any
    ) -> Experiment:
        """Write a queued experiment as a whole: the folder is made aside and renamed. Raises UserError `disk_full`.

        `begin_from` is a run from whose newest checkpoint this one goes on; `attachments` are files and folders to copy into it, by name.
        """
        run_id = new_id()
        with self.staging() as aside:
            write_atomic(aside / "config.yaml", config_yaml.encode())
            if begin_from:
                begin_from.copy_state(aside)
            for name, source in (attachments or {}).items():
                copy_into(source, aside / name)
            now = time.time()
            experiment = Experiment(
                id=run_id, created_at=now, rank=self._end_of_line(now), config_sha256=sha256_of(aside / "config.yaml"),
                history=[{"status": "queued", "at": now}], **facts,
            )  # fmt: skip
            write_json(aside / "experiment.json", dataclasses.asdict(experiment))
            put_in_place(aside, self.experiments / run_id)
        return experiment

    def _end_of_line(self, now: float) -> float:
        """Return a rank behind all who wait: the time, unless the clock was set back since they came."""
        waiting = [self.queue_place(experiment)[1] for experiment in self.unsettled() if experiment.status == "queued"]
        return max([now, *(rank + 1.0 for rank in waiting if rank >= now)])

    def adopt(self, staged: Path, experiment: Experiment) -> Experiment:
        """Take over a staged folder that holds an ended run made elsewhere; its id is given here. Raises UserError `disk_full`."""
        run_id = new_id()
        adopted = dataclasses.replace(experiment, id=run_id, config_sha256=sha256_of(staged / "config.yaml"))
        write_json(staged / "experiment.json", dataclasses.asdict(adopted))
        put_in_place(staged, self.experiments / run_id)
        return adopted

    def staging(self) -> AbstractContextManager[Path]:
        """Give an empty folder to write a run into; what was not taken over is deleted. Raises UserError `disk_full`."""
        return staged_folder(self.experiments)

    def get(self, run_id: str) -> Experiment:
        """Return a run's record. Raises UserError `run_unknown`, `store_file_unreadable`, `store_too_new`."""
        return self.find(run_id).experiment

    def find(self, run_id: str) -> IndexedRun:
        """Return what lists need of a run. Raises UserError `run_unknown`, `store_file_unreadable`, `store_too_new`."""
        self.folder(run_id)
        return self._index.run(run_id)

    def listing(self) -> Listing:
        """Return what lists need of all runs; one bad record never hides the list."""
        return self._index.listing()

    def all(self) -> tuple[list[Experiment], list[str]]:
        """Return the readable records, newest first, and the ids whose record is unreadable."""
        listing = self.listing()
        return [run.experiment for run in listing.runs], list(listing.unreadable)

    def unsettled(self) -> list[Experiment]:
        """Return the records that are not completed, newest first; of ended ones as they were last seen.

        That is all that a supervisor needs: none but itself changes the record of an ended run.
        """
        listing = self._index.listing(settled=lambda run: run.experiment.status in TERMINAL)
        return [run.experiment for run in listing.runs if run.experiment.status != "completed"]

    def with_request(self, kind: str, experiments: Iterable[Experiment]) -> list[Experiment]:
        """Return those in whose mailbox a wish lies."""
        return self._index.having(RunFolder(Path()).mail(kind), experiments)

    def run_lock(self, run_id: str) -> Path:
        """Return the file of the lock that a run's worker holds."""
        return self.locks / f"run-{run_id}.lock"

    def change(self, experiment: Experiment, **changes: Any) -> Experiment:
        """Write changed facts of a run (supervisor only)."""
        changed = dataclasses.replace(experiment, rev=experiment.rev + 1, **changes)
        write_record(self.folder(experiment.id), changed)
        self._index.run(experiment.id)  # `unsettled` does not look at ended runs again: it is told
        return changed

    def transition(self, experiment: Experiment, status: str, **changes: Any) -> Experiment:
        """Move a run to a legal next status (supervisor only). Raises ValueError on an illegal one."""
        if status not in TRANSITIONS.get(experiment.status, frozenset()):
            raise ValueError(f"{experiment.id}: {experiment.status} cannot become {status}")
        history = [*experiment.history, {"status": status, "at": time.time()}]
        return self.change(experiment, status=status, history=history, **changes)

    def display_name(self, experiment: Experiment) -> str:
        """Return what people call the run."""
        return self._index.run(experiment.id).name

    def queue_place(self, experiment: Experiment) -> tuple[int, float]:
        """Return the run's priority (higher goes first) and its rank among equals, by default when it was queued."""
        labels = self._index.run(experiment.id).labels
        came = experiment.rank or experiment.created_at
        try:
            return int(labels.get("priority", 0)), float(labels.get("rank", came))
        except (TypeError, ValueError):
            return 0, came

    def set_queue_place(self, run_id: str, priority: int, rank: float) -> None:
        """Give a run another place in the queue."""
        change_labels(self.folder(run_id).path, priority=priority, rank=rank)

    def rename(self, run_id: str, name: str) -> None:
        """Give a run another name. Raises UserError `name_empty`, `name_too_long`."""
        set_name(self.folder(run_id).path, name)

    def trash(self, run_id: str) -> None:
        """Move an ended run to the trash, where it stays for 7 days. Raises UserError `run_still_active`."""
        folder, lock = self.folder(run_id), ProcessLock(self.run_lock(run_id))
        if not lock.acquire():
            raise UserError("run_still_active", run=run_id)
        try:  # nobody can start it meanwhile
            if self._is_active(folder):
                raise UserError("run_still_active", run=run_id)
            throw_away(folder.path, self.trash_folder)
        finally:
            lock.release()

    def _is_active(self, folder: RunFolder) -> bool:
        """Whether a run has not ended, or is to go on; an unreadable one has no status, and may be thrown away."""
        try:
            status = self._index.run(folder.path.name).experiment.status
        except UserError:
            return False
        return status in ACTIVE or (status in RESUMABLE and folder.has_request("resume"))

    def restore(self, run_id: str) -> None:
        """Bring a run back from the trash. Raises UserError `run_unknown`, `target_exists`."""
        path = resolve_under(self.trash_folder, run_id)
        if not path.is_dir():
            raise UserError("run_unknown", run=run_id)
        bring_back(path, self.experiments / run_id)

    def owner(self, run_id: str) -> str:
        """Return who owns a run, in its place or in the trash; nothing where its record is broken. Raises UserError `name_not_allowed`."""
        path = resolve_under(self.experiments, run_id)
        return owner_in(RunFolder(path if path.exists() else self.trash_folder / path.name).record)

    def empty_trash(self, may_go: Callable[[str], bool]) -> None:
        """Delete the runs in the trash, for good, whose owner (nothing where none is known) says that they may go."""
        empty(self.trash_folder, lambda path: may_go(owner_in(RunFolder(path).record)))

    def trashed_count(self) -> int:
        """Return how many things lie in the trash: one look at the folder."""
        return len(thrown(self.trash_folder))

    def trashed(self) -> list[Experiment]:
        """Return the readable runs in the trash under the names that people gave them, newest first."""
        found = []
        for path in thrown(self.trash_folder):
            try:
                record = read_record(RunFolder(path))
            except UserError:
                continue
            found.append(dataclasses.replace(record, name=str(read_labels(path).get("name") or record.name)))
        return sorted(found, key=lambda e: e.created_at, reverse=True)

    def purge_trash(self) -> None:
        """Delete what has been in the trash for more than 7 days."""
        purge_older(self.trash_folder)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except FileExistsError as error:
        raise UserError("data_folder_is_file", folder=str(folder)) from error
    except OSError as error:
        told = as_user_error(error, folder)
        raise told if told.code == "disk_full" else UserError("data_folder_not_writable", folder=str(folder)) from error
