"""This computer and the app's settings."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.access.people import ADMIN
from tunesmith.errors import UserError
from tunesmith.jobs.queue import parse_quiet_hours
from tunesmith.services.context import Services, load_settings, settings_file
from tunesmith.services.rights import needs
from tunesmith.settings.files import from_mapping, to_mapping, to_yaml
from tunesmith.settings.schema import AppSettings
from tunesmith.store.files import write_atomic
from tunesmith.system.device import blas_name, chip_name, device_name
from tunesmith.system.environment import package_versions
from tunesmith.system.memory import disk_free_bytes, read_memory


@dataclass(frozen=True)
class SystemStatus:
    """The computer at one moment."""

    device: str
    chip: str
    blas: str
    memory_total_bytes: int
    memory_available_bytes: int
    process_memory_bytes: int
    disk_free_bytes: int
    data_dir: str
    python: str
    versions: dict[str, str]


def status(s: Services) -> SystemStatus:
    """Return device, memory, disk and versions."""
    memory = read_memory()
    return SystemStatus(
        device=device_name(), chip=chip_name(), blas=blas_name(), memory_total_bytes=memory.total_bytes,
        memory_available_bytes=memory.available_bytes, process_memory_bytes=memory.process_bytes,
        disk_free_bytes=disk_free_bytes(s.data_dir), data_dir=str(s.data_dir), python=platform.python_version(),
        versions=package_versions(),
    )  # fmt: skip


@needs(ADMIN)
def save_settings(s: Services, /, **changes: Any) -> AppSettings:
    """Save changed settings in the person's file and use them from now on.

    Raises UserError `folder_missing` for a model folder that is not there, `setting_…`, `quiet_hours_unreadable`,
    `server_read_only`.
    """
    s.require_writable()
    for folder in changes.get("model_folders", ()):
        if not Path(folder).expanduser().is_dir():
            raise UserError("folder_missing", folder=folder)
    if (data := changes.get("data_folder")) and not Path(data).expanduser().is_absolute():
        raise UserError("folder_not_absolute", folder=data)
    parse_quiet_hours(changes.get("quiet_hours", ""))
    settings = from_mapping(AppSettings, to_mapping(load_settings()) | changes)
    path = settings_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, to_yaml(settings).encode())
    s.kept.settings = settings
    return settings
