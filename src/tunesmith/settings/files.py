"""YAML files to and from setting dataclasses. Knows nothing of what the settings mean."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import orjson
import yaml

from tunesmith.errors import UserError
from tunesmith.settings.fields import check_values, is_for

Config = TypeVar("Config")
_FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it is built in: six times as fast
_MOST_BYTES = 1_000_000
_FAST_CHARACTERS = 4000  # it has no limit of depth: ten times as many brackets overflow the stack and end the process


def from_mapping(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """Build a checked config from plain values.

    A class may say what a person's values leave out: `completed(values)`. Raises UserError `setting_unknown` (with the nearest known
    name), `setting_type`, or what `check_values` raises.
    """
    complete = getattr(cls, "completed", None)
    config = _build(cls, complete(values) if complete else values)
    check_values(config)
    return config


def _build(cls: type[Config], values: Mapping[str, Any]) -> Config:
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            nearest = difflib.get_close_matches(str(name), known, n=1)
            raise UserError("setting_unknown", field=name, nearest=nearest[0] if nearest else ", ".join(known))
    return cls(**{name: _coerce(name, hints[name], value) for name, value in values.items()})


def _coerce(name: str, hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError("setting_type", field=name, value=value, expected="mapping")
        return _build(hint, value)  # type: ignore[arg-type]
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
    if origin := typing.get_origin(hint):
        return _coerce_many(name, origin, hint, value)
    if hint is float and isinstance(value, int | str) and not isinstance(value, bool):
        value = _as_float(name, value)  # YAML reads 1e-4 as text
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UserError("setting_type", field=name, value=value, expected=hint.__name__)
    return value


def _coerce_many(name: str, origin: Any, hint: Any, value: Any) -> Any:
    """Return a tuple (of plain values, or of dataclasses) or a mapping."""
    if origin is not tuple:
        if not isinstance(value, Mapping):
            raise UserError("setting_type", field=name, value=value, expected="mapping")
        return dict(value)
    if not isinstance(value, list | tuple):
        raise UserError("setting_type", field=name, value=value, expected="list")
    item = typing.get_args(hint)[0]
    return tuple(_coerce(name, item, part) for part in value) if dataclasses.is_dataclass(item) else tuple(value)


def _as_float(name: str, value: int | str) -> float:
    try:
        return float(value)
    except (ValueError, OverflowError) as error:
        raise UserError("setting_type", field=name, value=str(value)[:50], expected="float") from error


def to_mapping(config: Any) -> dict[str, Any]:
    """Return plain values, ready for YAML or JSON (tuples as lists); settings of other methods than the config's are left out."""
    method = getattr(config, "method", "")
    plain = dataclasses.asdict(config)
    return {field.name: _plain(plain[field.name]) for field in dataclasses.fields(config) if is_for(field, method)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def to_yaml(config: Any) -> str:
    """Return the config as YAML text in the order of its fields."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False, allow_unicode=True)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names; lists stay whole."""
    return dict(_flatten(values, prefix))


def _flatten(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _as_json(text: str) -> Any:
    """Return what JSON says, None for what is none: YAML 1.1 refuses its pairs of surrogates, as programs write `😀` and `𠮷`."""
    try:
        return orjson.loads(text) if text.lstrip().startswith("{") else None
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """Return the mapping in a YAML text. Raises UserError `yaml_unreadable` with the line."""
    try:
        values = _as_json(text)
        loader = _FAST if len(text) <= _FAST_CHARACTERS else yaml.SafeLoader
        values = yaml.load(text, Loader=loader) if values is None else values  # both are safe loaders # noqa: S506 # nosec B506
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:  # 31 February, `!!int _` …
        mark = getattr(error, "problem_mark", None)
        raise UserError("yaml_unreadable", file=source, line=mark.line + 1 if mark else 0) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError("yaml_unreadable", file=source, line=1)
    return values


def read_numbers(text: str) -> list[float]:
    """Return the numbers of `1, 0.5, 0`. Raises UserError `not_a_number`."""
    try:
        return [float(part) for part in text.replace("、", ",").split(",") if part.strip()]
    except ValueError as error:
        raise UserError("not_a_number", text=text[:100]) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, empty when the file is absent. Raises UserError `yaml_unreadable`."""
    return load_yaml(path) if path.exists() else {}


def load_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, also of one that is damaged in any way. Raises UserError `yaml_unreadable`."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise OSError("no file of settings")
    except OSError as error:
        raise UserError("yaml_unreadable", file=path.name, line=0) from error
    return parse_yaml(read_text_file(path), path.name)


def read_text_file(path: Path) -> str:
    """Return the text of a file that a person named. Raises UserError `file_missing`, `yaml_unreadable` where it is no UTF-8."""
    if not path.is_file():
        raise UserError("file_missing", file=str(path))
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("yaml_unreadable", file=path.name, line=0) from error
