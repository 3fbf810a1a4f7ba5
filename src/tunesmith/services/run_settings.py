"""The settings of runs laid side by side, with what they ran on: versions, machine, data. Knows records, no language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import yaml

from tunesmith.jobs.run_environment import read_attempts
from tunesmith.services.context import Services
from tunesmith.services.lineage import data_hash
from tunesmith.settings.files import flatten, load_yaml
from tunesmith.store.run_folder import RunFolder

SECTIONS = ("settings", "data", "environment")
NOT_COMPARED = {"attempt", "at", "data_hash", "config_sha256"}  # other in every run, or told elsewhere
STARTED = ("device", "blas", "processes", "packing", "parameters", "trainable_parameters")
ROWS = ("rows", "valid_rows", "tokens", "supervised_tokens", "steps")


@dataclass(frozen=True)
class SettingLine:
    """One setting of several runs: `section` is one of `SECTIONS`, `name` dotted (`lora_parameters.rank`), a value for each run.

    A value is None where a run does not have the setting: another method's, or one that was not recorded.
    """

    section: str
    name: str
    values: tuple[Any, ...]

    @property
    def differs(self) -> bool:
        """Whether any run's value is another than the first one's; what was not recorded of a machine or of data is no difference."""
        return any(self.differs_at(place) for place in range(len(self.values)))

    def differs_at(self, place: int) -> bool:
        """Whether one run's value is another than the first one's."""
        first, other = self.values[0], self.values[place]
        return bool(other != first) and (self.section == "settings" or None not in (first, other))


def settings_of(s: Services, run_id: str) -> dict[str, Any]:
    """Return a run's settings as they were launched, by dotted name. Raises UserError `run_unknown`, `yaml_unreadable`.

    They are not checked: a run of an older version of this app stays comparable.
    """
    return flatten(load_yaml(s.store.folder(run_id).config))


def compare_settings(s: Services, run_ids: Sequence[str]) -> list[SettingLine]:
    """Return every setting of the runs, by section, in the order of the first run's file. Raises as `settings_of` does."""
    lines: list[SettingLine] = []
    facts = [_facts(s, run_id) for run_id in run_ids]
    for section in SECTIONS:
        names = dict.fromkeys(name for each in facts for name in each[section] if name != "name")  # it heads the column
        lines += [SettingLine(section, name, tuple(each[section].get(name) for each in facts)) for name in names]
    return lines


def differing(lines: Sequence[SettingLine]) -> list[SettingLine]:
    """Return the lines in which the runs differ."""
    return [line for line in lines if line.differs]


def lines_as_yaml(lines: Sequence[SettingLine], names: Sequence[str]) -> str:
    """Return the lines as YAML: section, setting, then the value of each run under its name."""
    plain: dict[str, dict[str, dict[str, Any]]] = {}
    for line in lines:
        plain.setdefault(line.section, {})[line.name] = dict(zip(names, line.values, strict=True))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True) if plain else ""


def show_value(value: Any) -> str:
    """Return a value as its YAML would tell it, floats with at most six digits, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return orjson.dumps(value).decode() if value else "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _facts(s: Services, run_id: str) -> dict[str, dict[str, Any]]:
    experiment, folder = s.store.get(run_id), s.store.folder(run_id)
    started = _started(folder)
    attempts = read_attempts(folder)
    newest = attempts[-1] if attempts else {}
    hashed = newest.get("data_hash") or data_hash(s, experiment.data) or None
    machine = flatten({name: value for name, value in newest.items() if name not in NOT_COMPARED})
    return {
        "settings": settings_of(s, run_id),
        "data": {"hash": hashed, **{name: started[name] for name in ROWS if name in started}},
        "environment": {name: started[name] for name in STARTED if name in started} | machine,
    }


def _started(folder: RunFolder) -> dict[str, Any]:
    """Return what the newest attempt told when it began."""
    return next((event for event in reversed(folder.read_events()) if event.get("kind") == "run_started"), {})
