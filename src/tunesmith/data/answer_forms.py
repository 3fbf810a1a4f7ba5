"""The form of an answer: a regular expression, JSON by schema, each in bounded time and memory. Knows texts, no rewards and no metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

import orjson
import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from tunesmith.data.answers import final_answer
from tunesmith.errors import UserError

PATTERN_SECONDS = 1.0
MOST_REPEATS = 100_000
_FENCE = re.compile(r"```(?:json)?(.*?)```", re.DOTALL | re.IGNORECASE)
_COUNT = re.compile(r"\{(\d{1,9})")  # what must come so many times is written out in memory, what may come is not


def check_pattern(pattern: str) -> None:
    """Refuse what is no regular expression. Raises UserError `pattern_wrong`."""
    _compiled(pattern)


def has_pattern(pattern: str, text: str) -> bool:
    """Return whether a regular expression is found in a text. Raises UserError `pattern_wrong`, `pattern_slow`."""
    try:
        return _compiled(pattern).search(text, timeout=PATTERN_SECONDS) is not None
    except TimeoutError as error:
        raise UserError("pattern_slow", pattern=pattern[:100], seconds=PATTERN_SECONDS) from error


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    if math.prod(max(1, int(count)) for count in _COUNT.findall(pattern)) > MOST_REPEATS:
        raise UserError("pattern_wrong", pattern=pattern[:100], reason=f"repeats more than {MOST_REPEATS} times")
    try:
        return regex.compile(pattern)
    except (regex.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise UserError("pattern_wrong", pattern=pattern[:100], reason=str(error)[:200]) from error


def json_form(text: str, schema: str) -> Literal["fits", "other", "none"]:
    """Return whether an answer is JSON that fits a schema, JSON that does not, or none at all; a fenced block may hold it.

    Raises UserError `schema_wrong`, `pattern_slow`.
    """
    validator = _validator(schema)
    text = final_answer(text, "whole") or ""
    if fenced := _FENCE.search(text):
        text = fenced.group(1)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return "none"
    try:
        return "fits" if validator.is_valid(value) else "other"
    except Unresolvable as error:
        raise UserError("schema_wrong", reason=_first_line(error)) from error
    except RecursionError:
        return "other"  # an answer that is nested deeper than a schema can follow


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _check_text(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Check the keyword `pattern`, within the time that a pattern may take."""
    del schema
    if validator.is_type(instance, "string") and not has_pattern(pattern, instance):
        yield ValidationError("does not match")


def _check_names(validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Check the keyword `patternProperties`, within the time that a pattern may take."""
    del schema
    for pattern, inner in patterns.items() if validator.is_type(instance, "object") else ():
        for name, value in instance.items():
            if has_pattern(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _check_others(validator: Any, inner: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Check the keyword `additionalProperties`, which asks the same patterns."""
    for name, value in instance.items() if validator.is_type(instance, "object") else ():
        if name not in schema.get("properties", {}) and not any(has_pattern(p, name) for p in schema.get("patternProperties", {})):
            yield from validator.descend(value, inner, path=name)


_BoundedValidator = extend(
    Draft202012Validator, {"pattern": _check_text, "patternProperties": _check_names, "additionalProperties": _check_others}
)


@lru_cache(maxsize=16)
def _validator(schema: str) -> Any:
    try:
        parsed = orjson.loads(schema)
        Draft202012Validator.check_schema(parsed)
        validator = _BoundedValidator(parsed, registry=Registry())
        validator.is_valid(None)  # one that only refers to itself, or to what is not there, is told at once
    except (orjson.JSONDecodeError, SchemaError, Unresolvable, RecursionError) as error:
        raise UserError("schema_wrong", reason=_first_line(error)) from error
    return validator
