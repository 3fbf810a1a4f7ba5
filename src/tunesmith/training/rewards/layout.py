"""Rewards for the form of an answer: think and answer tags, a pattern, JSON by schema, numbered steps. Knows texts, no models."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from tunesmith.errors import UserError
from tunesmith.settings.fields import setting
from tunesmith.training.rewards.extraction import PLACES, final_answer
from tunesmith.training.rewards.spec import Completion

_TAGS = re.compile(r"(</?(?:think|answer)>)")
_IN_ORDER = ["<think>", "</think>", "<answer>", "</answer>"]
_STEP = re.compile(
    r"^[^\S\n]*+(?:[#>]+[^\S\n]*+)?(?:\*\*|__)?"
    r"(?:step[^\S\n]*\d|\d{1,3}[.):．）：、](?!\d)|[-*•・]\s|(?:first|second|third|next|then|finally)\b|手順[^\S\n]*\d|ステップ[^\S\n]*\d)",
    re.IGNORECASE | re.MULTILINE,
)
_FENCE = re.compile(r"```(?:json)?(.*?)```", re.DOTALL | re.IGNORECASE)
_COUNT = re.compile(r"\{(\d{1,9})")  # what must come so many times is written out in memory, what may come is not
PATTERN_SECONDS = 1.0
MOST_REPEATS = 100_000


@dataclass(frozen=True)
class FormatStrict:
    """1 when the whole completion is <think>, its text, </think>, <answer>, its text, </answer>, each tag on a line of its own."""

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1 or 0."""
        del row
        parts = _TAGS.split(completion.text)
        if parts[1::2] != _IN_ORDER:
            return 0.0
        before, thought, between, answer, after = parts[::2]
        return float(not before and between == "\n" and not after.strip() and _is_block(thought) and _is_block(answer))


def _is_block(text: str) -> bool:
    """Return whether a tag's text has lines of its own, and not only empty ones."""
    return len(text) > 2 and text[0] == text[-1] == "\n" and bool(text.strip())


@dataclass(frozen=True)
class FormatSoft:
    """1 when somewhere a <think> part is followed by an <answer> part, both with text."""

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1 or 0."""
        del row
        parts = _TAGS.split(completion.text)
        for place in range(1, len(parts) - 6, 2):
            _, thought, _, between, _, answer, _ = parts[place : place + 7]
            if parts[place : place + 7 : 2] == _IN_ORDER and thought.strip() and not between.strip() and answer.strip():
                return 1.0
        return 0.0


@dataclass(frozen=True)
class Pattern:
    """1 when a regular expression is found."""

    pattern: str = setting("", label="Pattern", help="A regular expression (Python's). Write ^…$ to compare the whole completion.")
    place: str = setting("whole", choices=PLACES, label="Where the answer stands", help="What part of the completion is searched.")

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1 or 0. Raises UserError `reward_option_empty`, `reward_pattern_wrong`, `reward_pattern_slow`."""
        del row
        if not self.pattern:
            raise UserError("reward_option_empty", option="pattern")
        _compiled(self.pattern)  # a wrong one is told even when there is nothing to search
        found = final_answer(completion.text, self.place)
        return float(found is not None and _is_found(self.pattern, found))


def _is_found(pattern: str, text: str) -> bool:
    try:
        return _compiled(pattern).search(text, timeout=PATTERN_SECONDS) is not None
    except TimeoutError as error:
        raise UserError("reward_pattern_slow", pattern=pattern[:100], seconds=PATTERN_SECONDS) from error


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    if math.prod(max(1, int(count)) for count in _COUNT.findall(pattern)) > MOST_REPEATS:
        raise UserError("reward_pattern_wrong", pattern=pattern[:100], reason=f"repeats more than {MOST_REPEATS} times")
    try:
        return regex.compile(pattern)
    except (regex.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise UserError("reward_pattern_wrong", pattern=pattern[:100], reason=str(error)[:200]) from error


@dataclass(frozen=True)
class JsonSchema:
    """1 when the answer is JSON that fits a schema, half when it is JSON that does not."""

    schema: str = setting(
        '{"type": "object"}', kind="text", label="JSON schema",
        help="A JSON schema (draft 2020-12) as text; references to other files are not followed.",
    )  # fmt: skip

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1, 0.5 or 0. Raises UserError `reward_schema_wrong`, `reward_pattern_slow`."""
        del row
        validator = _validator(self.schema)
        text = final_answer(completion.text, "whole") or ""
        if fenced := _FENCE.search(text):
            text = fenced.group(1)
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return 0.0
        try:
            return 1.0 if validator.is_valid(value) else 0.5
        except Unresolvable as error:
            raise UserError("reward_schema_wrong", reason=_first_line(error)) from error
        except RecursionError:
            return 0.5  # an answer that is nested deeper than a schema can follow


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _check_text(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Check the keyword `pattern`, within the time that a pattern may take."""
    del schema
    if validator.is_type(instance, "string") and not _is_found(pattern, instance):
        yield ValidationError("does not match")


def _check_names(validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Check the keyword `patternProperties`, within the time that a pattern may take."""
    del schema
    for pattern, inner in patterns.items() if validator.is_type(instance, "object") else ():
        for name, value in instance.items():
            if _is_found(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _check_others(validator: Any, inner: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Check the keyword `additionalProperties`, which asks the same patterns."""
    for name, value in instance.items() if validator.is_type(instance, "object") else ():
        if name not in schema.get("properties", {}) and not any(_is_found(p, name) for p in schema.get("patternProperties", {})):
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
        raise UserError("reward_schema_wrong", reason=_first_line(error)) from error
    return validator


@dataclass(frozen=True)
class StepCount:
    """The share of a wished number of reasoning steps, at most 1 (open-r1's reasoning steps reward). Give it a small weight: it says
    nothing about being right."""

    steps: int = setting(
        3, minimum=1, maximum=50, unit="steps", label="Reasoning steps",
        help="Lines that begin a step (1., Step 2, - …, First, Finally). More than this many earn nothing more.",
    )  # fmt: skip

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return a share in 0..1."""
        del row
        return min(1.0, len(_STEP.findall(completion.text)) / self.steps)
