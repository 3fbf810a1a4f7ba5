"""Forms made from setting dataclasses: one widget per field, help beside it. Knows no page and no particular setting."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from tunesmith.i18n.catalog import field_words, has
from tunesmith.settings.fields import is_for
from tunesmith.ui.session import language, t

DRAWN_ELSEWHERE = ("hidden", "rewards")
Options = Mapping[str, tuple[Sequence[str], Callable[[str], str]]]  # kind -> (values, how a value is shown)


def draw_field(config: Any, field: dataclasses.Field[Any], prefix: str, options: Options) -> Any:
    """Draw one field's widget and return its value; what a person typed stays under `<prefix>.<field>` in the session."""
    rule, value = field.metadata, getattr(config, field.name)
    label, help_text = field_words(type(config).__name__, field, language())
    if rule["unit"] and t(f"unit.{rule['unit']}").lower() not in label.lower():
        label = f"{label} ({t('unit.' + rule['unit'])})"
    key = f"{prefix}.{field.name}"
    if rule["kind"] in options:
        return _draw_choice(label, help_text, key, value, *options[rule["kind"]])
    if rule["choices"]:
        return _draw_choice(label, help_text, key, value, rule["choices"], lambda choice: show_choice(choice, field.name))
    if isinstance(value, bool):
        return st.toggle(label, value=value, key=key, help=help_text)
    if isinstance(value, tuple):
        text = st.text_area(label, value="\n".join(value), key=key, help=help_text, height=90)
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    if rule["kind"] == "text":
        return st.text_area(label, value=value, key=key, help=help_text, height=120)
    if isinstance(value, int | float):
        return _draw_number(rule, label, help_text, key, value)
    return st.text_input(label, value=value, key=key, help=help_text)


def show_choice(value: str, setting: str = "") -> str:
    """Return the words of one of a setting's choices, the setting's own where it has some; names that need none stand for themselves."""
    if has(f"choice.{setting}_{value}"):
        return t(f"choice.{setting}_{value}")
    return t(f"choice.{value}") if has(f"choice.{value}") else value


def _draw_choice(label: str, help_text: str, key: str, value: str, values: Sequence[str], show: Callable[[str], str]) -> Any:
    known = list(values) if value in values or not value else [value, *values]
    index = known.index(value) if value in known else (0 if known else None)
    return st.selectbox(label, known, index=index, key=key, help=help_text, format_func=show)


def _draw_number(rule: Mapping[str, Any], label: str, help_text: str, key: str, value: float) -> Any:
    if isinstance(value, int):
        whole = [None if limit is None else int(limit) for limit in (rule["minimum"], rule["maximum"])]
        return st.number_input(label, min_value=whole[0], max_value=whole[1], value=value, step=1, key=key, help=help_text)
    step = 10.0 ** math.floor(math.log10(value)) if value else 0.01
    low, high = (None if limit is None else float(limit) for limit in (rule["minimum"], rule["maximum"]))
    shape = "%.1e" if 0 < value < 0.001 else "%g"
    return st.number_input(label, min_value=low, max_value=high, value=float(value), step=step, format=shape, key=key, help=help_text)


def shown_fields(config: Any, advanced: bool) -> list[tuple[Any, dataclasses.Field[Any], str]]:
    """Return (owner, field, path) of the fields to draw, those of nested dataclasses in their place; those of other methods not."""
    method = getattr(config, "method", "")
    found: list[tuple[Any, dataclasses.Field[Any], str]] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not is_for(field, method):
            continue
        if dataclasses.is_dataclass(value):
            found += [(value, inner, field.name) for inner in dataclasses.fields(value) if _is_drawn(inner, advanced)]
        elif _is_drawn(field, advanced):
            found.append((config, field, ""))
    return found


def _is_drawn(field: dataclasses.Field[Any], advanced: bool) -> bool:
    return field.metadata["kind"] not in DRAWN_ELSEWHERE and field.metadata["advanced"] == advanced


def draw_fields(config: Any, prefix: str, advanced: bool, options: Options, columns: int = 2) -> dict[str, Any]:
    """Draw the simple or the advanced fields under their groups' headings; return values by name, nested ones as mappings."""
    values: dict[str, Any] = {}
    groups: dict[str, list[tuple[Any, dataclasses.Field[Any], str]]] = {}
    for entry in shown_fields(config, advanced):
        groups.setdefault(entry[1].metadata["group"], []).append(entry)
    for group, entries in groups.items():
        if group and len(groups) > 1:
            st.markdown(f"**{t('training.group_' + group)}**")
        places = st.columns(columns)
        for number, (owner, field, path) in enumerate(entries):
            with places[number % columns]:
                value = draw_field(owner, field, f"{prefix}.{path}" if path else prefix, options)
            target = values.setdefault(path, {}) if path else values
            target[field.name] = value
    return values


def merge_values(config: Any, *parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config's plain values with the drawn ones laid over."""
    merged = dataclasses.asdict(config)
    for part in parts:
        for name, value in part.items():
            merged[name] = merged[name] | value if isinstance(value, Mapping) else value
    return merged
