"""The composition root: everything that the pages, the command line and the routes share, made once per process."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from tunesmith.access.people import ADMIN, TRAINER, Person, owner_of_this_computer
from tunesmith.errors import UserError
from tunesmith.inference.client import HostClient
from tunesmith.jobs.job import used_by_jobs
from tunesmith.jobs.queue import is_quiet, parse_quiet_hours
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.settings.files import from_mapping, read_yaml
from tunesmith.settings.schema import AppSettings
from tunesmith.store.adapters import AdapterStore
from tunesmith.store.comparisons import ComparisonStore, PromptSetStore
from tunesmith.store.datasets import DatasetStore
from tunesmith.store.experiments import ExperimentStore
from tunesmith.store.files import sweep_leftovers
from tunesmith.store.model_folders import ModelFolders
from tunesmith.store.rollouts import RolloutLog
from tunesmith.store.series import MetricSeries
from tunesmith.store.uploads import purge_uploads
from tunesmith.store.votes import ArenaStore
from tunesmith.system.paths import CONFIG, home_folder, typed_path
from tunesmith.system.scratch import sweep_scratch

T = TypeVar("T")
KEPT_READERS = 64  # a long run's curves take some 10 MB


@dataclass
class Kept:
    """What changes while the server stands, shared by all who work with it."""

    settings: AppSettings


@dataclass
class Services:
    """What the pages work with, for one person."""

    kept: Kept
    data_dir: Path
    store: ExperimentStore
    supervisor: Supervisor
    host: HostClient
    person: Person = field(default_factory=owner_of_this_computer)
    _series: dict[str, MetricSeries] = field(default_factory=dict)
    _rollouts: dict[str, RolloutLog] = field(default_factory=dict)
    _series_lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def settings(self) -> AppSettings:
        """The app's settings as they are now."""
        return self.kept.settings

    def of(self, person: Person) -> Services:
        """Return the same services for somebody, whose role decides what they do."""
        return dataclasses.replace(self, person=person)

    @property
    def read_only(self) -> bool:
        """Whether nothing can be changed here: another server is in charge of this store, or this person only watches."""
        return not self.supervisor.in_charge or not self.person.may(TRAINER)

    def series(self, run_id: str) -> MetricSeries:
        """Return the one shared reader of a run's metrics, up to date. Raises UserError `run_unknown`."""
        path = self.store.folder(run_id).metrics
        reader = self._shared(self._series, run_id, lambda: MetricSeries(path))
        reader.refresh()
        return reader

    def rollouts(self, run_id: str) -> RolloutLog:
        """Return the one shared reader of what a run's policy wrote. Raises UserError `run_unknown`."""
        path = self.store.folder(run_id).rollouts
        return self._shared(self._rollouts, run_id, lambda: RolloutLog(path))

    def _shared(self, readers: dict[str, T], run_id: str, open_reader: Callable[[], T]) -> T:
        with self._series_lock:
            reader = readers.pop(run_id, None) or open_reader()
            readers[run_id] = reader  # the last in the order
            while len(readers) > KEPT_READERS:
                del readers[next(iter(readers))]
        return reader

    def require_writable(self) -> None:
        """Refuse a change while another server is in charge. Raises UserError `server_read_only`."""
        if not self.supervisor.in_charge:
            raise UserError("server_read_only", folder=str(self.data_dir))

    def require_path(self, path: Path) -> None:
        """Refuse a path of this computer to whoever is no admin; what lies in the data folder is for all.

        Raises UserError `path_for_admins`.
        """
        if not self.person.may(ADMIN) and not path.resolve().is_relative_to(self.data_dir.resolve()):
            raise UserError("path_for_admins", role=ADMIN)

    def close(self) -> None:
        """Give everything back; running workers train on."""
        self.host.close()
        self.supervisor.close()


def settings_file() -> Path:
    """Return the person's own settings file."""
    return home_folder() / "settings.yaml"


def load_settings() -> AppSettings:
    """Return the person's settings over the shipped ones. Raises UserError on a file that cannot be read."""
    return from_mapping(AppSettings, read_yaml(CONFIG / "default.yaml") | read_yaml(settings_file()))


def open_store(settings: AppSettings) -> ExperimentStore:
    """Open the data folder that the settings name. Raises UserError `store_too_new`, `store_file_unreadable`, `data_folder_…`."""
    return ExperimentStore(Path(settings.data_folder).expanduser() if settings.data_folder else home_folder())


def build_services() -> Services:
    """Open the store and begin to supervise. Raises as `open_store` and `load_settings` do."""
    settings = load_settings()
    store = open_store(settings)
    data_dir = store.root
    supervisor = Supervisor(
        store, may_start=lambda: not is_quiet(parse_quiet_hours(services.settings.quiet_hours), datetime.now()),
        restarts=lambda: services.settings.restarts,
    )  # fmt: skip
    services = Services(Kept(settings), data_dir, store, supervisor, HostClient(data_dir / "inference.log"))
    supervisor.start()
    if supervisor.in_charge:
        _sweep(data_dir, settings.exports_folder)
        store.purge_trash()
    return services


def _sweep(data_dir: Path, exports_folder: str) -> None:
    """Delete what killed processes left half done, and what has lain in a trash or as a forgotten upload for long."""
    sweep_scratch(at_start=True)
    elsewhere = [typed_path(exports_folder)] if exports_folder else []
    for folder in (data_dir, *data_dir.glob("*/"), *data_dir.glob("*/.trash/"), *elsewhere):
        sweep_leftovers(folder, at_start=True)
    for kept in (AdapterStore, ComparisonStore, PromptSetStore, ArenaStore, DatasetStore, ModelFolders):
        kept(data_dir).purge_trash()
    purge_uploads(data_dir, lambda path: used_by_jobs(data_dir)(path))  # all jobs are looked at only for an upload that is old


@functools.cache
def open_services() -> Services:
    """Return this process's services; the first call builds them."""
    return build_services()
