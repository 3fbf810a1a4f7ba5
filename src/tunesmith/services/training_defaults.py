"""What the form of a new run begins with: an admin's choice over the shipped settings.

Only the form reads it. A file, the command line and the API take what they do not say from the shipped settings: a run's file means
the same run on every computer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.access.people import ADMIN
from tunesmith.services.context import Services
from tunesmith.services.rights import needs
from tunesmith.services.system import save_settings
from tunesmith.settings.files import flatten, from_mapping, to_mapping
from tunesmith.training.config import TrainConfig

ONE_RUN_S = ("data", "name", "resume_adapter_file", "hostfile")  # what a single run is about
ALWAYS_KEPT = ("model", "method")


@dataclass(frozen=True)
class DefaultLine:
    """A setting (dotted name) that new forms begin with, beside the shipped value."""

    name: str
    value: Any
    shipped: Any


def list_defaults(s: Services) -> list[DefaultLine]:
    """Return what is set, in the order of the form. Raises UserError `setting_…` when a hand-written one is wrong."""
    chosen = s.settings.training_defaults
    from_mapping(TrainConfig, chosen)
    plain = flatten(to_mapping(TrainConfig().with_method(str(chosen.get("method", "sft")))))
    return [DefaultLine(name, value, plain.get(name)) for name, value in flatten(chosen).items()]


@needs(ADMIN)
def keep_defaults(s: Services, config: TrainConfig) -> None:
    """Let new forms begin with these settings: model, method, and what differs from the method's shipped values.

    Raises UserError `server_read_only`.
    """
    plain = to_mapping(TrainConfig().with_method(config.method))
    save_settings(s, training_defaults=_differences(to_mapping(config), plain))


def _differences(ours: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in ours.items():
        if name in ONE_RUN_S:
            continue
        if isinstance(value, Mapping):
            if inner := _differences(value, plain.get(name, {})):
                found[name] = inner
        elif name in ALWAYS_KEPT or value != plain.get(name):
            found[name] = value
    return found


@needs(ADMIN)
def reset_defaults(s: Services, name: str = "") -> None:
    """Forget the default of one setting (dotted name), or all of them. Raises UserError `server_read_only`."""
    save_settings(s, training_defaults=_without(s.settings.training_defaults, name) if name else {})


def _without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    head, _, rest = name.partition(".")
    if not rest:
        return {key: value for key, value in values.items() if key != head}
    inner = _without(values.get(head, {}), rest)
    return {**{key: value for key, value in values.items() if key != head}, **({head: inner} if inner else {})}
