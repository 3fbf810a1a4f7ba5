"""Services on a store of their own, in charge of it, with no thread: nothing is started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tunesmith.inference.client import HostClient
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.services.context import Kept, Services
from tunesmith.settings.schema import AppSettings
from tunesmith.store.experiments import ExperimentStore


@pytest.fixture
def services(data_dir: Path) -> Iterator[Services]:
    store = ExperimentStore(data_dir)
    supervisor = Supervisor(store)
    supervisor._lock.acquire()
    services = Services(Kept(AppSettings()), data_dir, store, supervisor, HostClient(data_dir / "host.log"))
    yield services
    services.close()
