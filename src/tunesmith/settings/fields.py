"""How a setting describes itself: every default once, its label, help, unit and limits beside it.

Knows dataclasses only. Forms, command-line flags, docs and validation are made from these fields. The English words live here;
other languages in `i18n` under `field.<Class>.<name>`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tunesmith.errors import UserError


def setting(
    default: Any,
    *,
    label: str,
    help: str,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
    advanced: bool = False,
    group: str = "",
    kind: str = "",
    methods: Sequence[str] = (),
    restart: bool = False,
) -> Any:
    """Declare a dataclass field with all that a form needs; `kind` sets the widget ("model", "dataset", "folder", "text", "hidden").

    `methods` are those that the setting is for, empty for all; with `restart` a change takes effect at the server's next start.
    """
    metadata = {
        "label": label, "help": help, "unit": unit, "minimum": minimum, "maximum": maximum,
        "choices": tuple(choices), "advanced": advanced, "group": group, "kind": kind, "methods": tuple(methods), "restart": restart,
    }  # fmt: skip
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def nested(settings: type[Any], methods: Sequence[str] = ()) -> Any:
    """Declare a field that holds a dataclass of settings, of use for `methods` only (empty: for all)."""
    return dataclasses.field(default_factory=settings, metadata={"methods": tuple(methods)})


def is_for(field: dataclasses.Field[Any], method: str) -> bool:
    """Return whether a setting is of use for a method; every one is for a config that knows no method."""
    wanted = field.metadata.get("methods")
    return not method or not wanted or method in wanted


def check_values(config: Any) -> None:
    """Refuse a value outside its field's type, limits or choices; nested dataclasses included.

    Raises UserError `setting_type`, `setting_too_small`, `setting_too_large` or `setting_choice`.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_values(value)
        elif field.metadata:
            check_value(field, value)


def check_value(field: dataclasses.Field[Any], value: Any) -> None:
    """Refuse one value; see `check_values`."""
    rule = field.metadata
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        if rule["choices"] and value not in rule["choices"]:
            raise UserError("setting_choice", field=field.name, value=value, choices=", ".join(rule["choices"]))
        return
    if rule["minimum"] is not None and not value >= rule["minimum"]:  # also refuses NaN
        raise UserError("setting_too_small", field=field.name, value=value, minimum=rule["minimum"])
    if rule["maximum"] is not None and not value <= rule["maximum"]:
        raise UserError("setting_too_large", field=field.name, value=value, maximum=rule["maximum"])
