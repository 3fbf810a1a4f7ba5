"""Sweeps: a small grid over any settings, queued as a group of runs."""

from __future__ import annotations

import dataclasses
import itertools
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.services.context import Services
from tunesmith.services.rights import needs
from tunesmith.services.training import require_startable, submit
from tunesmith.settings.fields import is_for
from tunesmith.settings.files import from_mapping, to_mapping
from tunesmith.training.config import TrainConfig

MOST_RUNS = 64
LEFT_OUT = {"model", "data", "method", "name", "sample_prompts", "custom_keys", "rewards", "system_prompt"}


def sweepable_settings(config: TrainConfig) -> list[str]:
    """Return the settings that a sweep can vary with the config's method; nested ones as `lora_parameters.rank`."""
    names: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not is_for(field, config.method) or field.name in LEFT_OUT:
            continue
        inner = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
        names += [f"{field.name}.{each.name}" for each in inner if each.name not in LEFT_OUT] or [field.name]
    return names


def parse_values(text: str) -> list[Any]:
    """Return the values in `1e-4, 3e-4`, each once and read as YAML would.

    Raises UserError `sweep_without_values`, `sweep_value_unreadable`.
    """
    parts = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise UserError("sweep_without_values")
    return [_parse_value(part) for part in parts]


def _parse_value(part: str) -> Any:
    try:
        return yaml.safe_load(part)
    except yaml.YAMLError as error:
        raise UserError("sweep_value_unreadable", value=part) from error


def expand(config: TrainConfig, grid: Mapping[str, Sequence[Any]]) -> list[TrainConfig]:
    """Return one checked config for each combination, named by its values. Raises UserError `sweep_too_large`, `setting_…`."""
    count = 1
    for values in grid.values():
        count *= len(values)
    if count > MOST_RUNS:
        raise UserError("sweep_too_large", runs=count, most=MOST_RUNS)
    return [_with_values(config, dict(zip(grid, chosen, strict=True))) for chosen in itertools.product(*grid.values())]


def _with_values(config: TrainConfig, chosen: Mapping[str, Any]) -> TrainConfig:
    plain = to_mapping(config)
    for name, value in chosen.items():
        outer, _, inner = name.partition(".")
        if inner:
            plain[outer][inner] = value
        else:
            plain[outer] = value
    told = ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in chosen.items())
    plain["name"] = f"{config.name or config.data} · {told}"
    return from_mapping(TrainConfig, plain)


@needs(TRAINER)
def start_sweep(s: Services, config: TrainConfig, grid: Mapping[str, Sequence[Any]]) -> list[str]:
    """Queue every combination as one group; return the runs' ids. Nothing is queued when one of them is wrong."""
    configs = expand(config, grid)
    group = f"sweep-{secrets.token_hex(2)}"
    for each in configs:
        require_startable(s, each)
    return [submit(s, each, group=group) for each in configs]
