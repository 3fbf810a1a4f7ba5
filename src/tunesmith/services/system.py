"""The app's settings: what may be saved, what is wrong with the rest, the way back to the shipped ones. And what this computer is."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tunesmith.access.people import ADMIN
from tunesmith.errors import UserError
from tunesmith.jobs.queue import is_quiet, parse_quiet_hours
from tunesmith.services.context import Services, load_settings, settings_file
from tunesmith.services.rights import needs
from tunesmith.settings.files import from_mapping, read_yaml, to_mapping, to_yaml
from tunesmith.settings.schema import AppSettings
from tunesmith.store.files import make_folder, write_atomic
from tunesmith.system.addresses import read_allowed_host
from tunesmith.system.device import blas_name, chip_name, device_name
from tunesmith.system.endpoint import Endpoint, check_endpoint
from tunesmith.system.environment import package_versions
from tunesmith.system.hosts import host_of
from tunesmith.system.paths import CONFIG, typed_path
from tunesmith.training.config import TrainConfig


@dataclass(frozen=True)
class SystemStatus:
    """What this computer is; what it does now is told by `services/computer.py`."""

    device: str
    chip: str
    blas: str
    data_dir: str
    python: str
    versions: dict[str, str]


def status(s: Services) -> SystemStatus:
    """Return device, data folder and versions."""
    return SystemStatus(device_name(), chip_name(), blas_name(), str(s.data_dir), platform.python_version(), package_versions())


def shipped_settings() -> AppSettings:
    """Return the settings that the app comes with."""
    return from_mapping(AppSettings, read_yaml(CONFIG / "default.yaml"))


def fields_of(group: str) -> list[dataclasses.Field[Any]]:
    """Return the settings of a group."""
    return [field for field in dataclasses.fields(AppSettings) if field.metadata["group"] == group]


def is_quiet_now(s: Services) -> bool:
    """Whether no run may start at this moment."""
    return is_quiet(parse_quiet_hours(s.settings.quiet_hours), datetime.now())


def check_settings(s: Services, changes: Mapping[str, Any]) -> dict[str, UserError]:
    """Return what is wrong with changed settings, by their names; nothing when they can be saved."""
    problems: dict[str, UserError] = {}
    hosts = changes.get("endpoint_hosts", s.settings.endpoint_hosts)
    for name, value in changes.items():
        try:
            from_mapping(AppSettings, {name: value})
            _CHECKS.get(name, lambda _: None)(value)
            if name == "ollama_url":
                check_endpoint(Endpoint(value, ""), hosts)
        except UserError as error:
            problems[name] = error
    return problems


def _check_data_folder(folder: str) -> None:
    _require_absolute(folder)
    if typed_path(folder).is_file():
        raise UserError("data_folder_is_file", folder=folder)


def _check_folder(folder: str) -> None:
    _require_absolute(folder)
    if folder and not typed_path(folder).is_dir():
        raise UserError("folder_missing", folder=folder)


def _require_absolute(folder: str) -> None:
    if folder and not typed_path(folder).is_absolute():
        raise UserError("folder_not_absolute", folder=folder)


def _check_folders(folders: Sequence[str]) -> None:
    for folder in folders:
        _check_folder(folder)


def _check_exports_folder(folder: str) -> None:
    _check_folder(folder)
    if folder and not os.access(typed_path(folder), os.W_OK):
        raise UserError("no_permission", folder=folder)


def _check_quiet_hours(text: str) -> None:
    hours = parse_quiet_hours(text)
    if hours and hours[0] == hours[1]:
        raise UserError("quiet_hours_empty", value=text)


def _check_hosts(hosts: Sequence[str]) -> None:
    for host in hosts:
        if not host_of(host):
            raise UserError("host_name_wrong", host=host[:100])


# What no rule of a field can tell: folders that are not there, hours, names.
_CHECKS: Mapping[str, Callable[[Any], object]] = {
    "data_folder": _check_data_folder, "model_folders": _check_folders, "exports_folder": _check_exports_folder,
    "lmstudio_folder": _check_folder, "quiet_hours": _check_quiet_hours, "lan_names": _check_hosts,
    "endpoint_hosts": lambda hosts: [read_allowed_host(host) for host in hosts],
    "training_defaults": lambda values: from_mapping(TrainConfig, values),
}  # fmt: skip


def _folders_here(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the folders among changed settings as plain paths of this computer."""
    kinds = {field.name: field.metadata["kind"] for field in dataclasses.fields(AppSettings)}
    one = {name: str(typed_path(value)) for name, value in changes.items() if kinds[name] == "folder" and value}
    return one | {name: [str(typed_path(each)) for each in value] for name, value in changes.items() if kinds[name] == "folders"}


@needs(ADMIN)
def save_settings(s: Services, /, **changes: Any) -> AppSettings:
    """Save changed settings in the person's file and use them from now on.

    Raises the first that `check_settings` finds (`folder_…`, `setting_…`, `quiet_hours_…`, `host_name_wrong`, `endpoint_…`), and
    UserError `server_read_only`.
    """
    s.require_writable()
    for problem in check_settings(s, changes).values():
        raise problem
    settings = from_mapping(AppSettings, to_mapping(load_settings()) | changes | _folders_here(changes))
    path = settings_file()
    make_folder(path.parent)
    write_atomic(path, to_yaml(settings).encode())
    s.kept.settings = settings
    return settings


@needs(ADMIN)
def reset_settings(s: Services, /, group: str) -> AppSettings:
    """Put the settings of a group back to the shipped ones. Raises UserError `server_read_only`."""
    shipped = shipped_settings()
    return save_settings(s, **{field.name: getattr(shipped, field.name) for field in fields_of(group)})
