"""Rewards for the form of an answer: think and answer tags, a pattern, JSON by schema, numbered steps. Knows texts, no models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry

from tunesmith.errors import UserError
from tunesmith.settings.fields import setting
from tunesmith.training.rewards.extraction import PLACES, final_answer
from tunesmith.training.rewards.spec import Completion

_STRICT = re.compile(r"^<think>\n(?:(?!</?(?:think|answer)>).)+\n</think>\n<answer>\n(?:(?!</?(?:think|answer)>).)+\n</answer>\s*$", re.DOTALL)
_SOFT = re.compile(r"<think>.*?\S.*?</think>\s*<answer>.*?\S.*?</answer>", re.DOTALL)
_STEP = re.compile(r"^\s*(?:step\s*\d+|\d{1,3}[.):]|[-*•]\s|first\b|second\b|third\b|next\b|then\b|finally\b|手順\s*\d+|ステップ\s*\d+)", re.I | re.M)
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
PATTERN_SECONDS = 1.0


@dataclass(frozen=True)
class FormatStrict:
    """1 when the whole completion is <think>, its text, </think>, <answer>, its text, </answer>, each tag on a line of its own."""

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1 or 0."""
        del row
        return float(_STRICT.match(completion.text) is not None)


@dataclass(frozen=True)
class FormatSoft:
    """1 when somewhere a <think> part is followed by an <answer> part, both with text."""

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1 or 0."""
        del row
        return float(_SOFT.search(completion.text) is not None)


@dataclass(frozen=True)
class Pattern:
    """1 when a regular expression is found."""

    pattern: str = setting("", label="Pattern", help="A regular expression (Python's). Write ^…$ to compare the whole completion.")
    place: str = setting("whole", choices=PLACES, label="Where the answer stands", help="What part of the completion is searched.")

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1 or 0. Raises UserError `reward_pattern_wrong`, `reward_pattern_slow`."""
        del row
        found = final_answer(completion.text, self.place)
        try:
            return float(found is not None and _compiled(self.pattern).search(found, timeout=PATTERN_SECONDS) is not None)
        except TimeoutError as error:
            raise UserError("reward_pattern_slow", pattern=self.pattern[:100], seconds=PATTERN_SECONDS) from error


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    if not pattern:
        raise UserError("reward_option_empty", option="pattern")
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise UserError("reward_pattern_wrong", pattern=pattern[:100], reason=str(error)) from error


@dataclass(frozen=True)
class JsonSchema:
    """1 when the answer is JSON that fits a schema, half when it is JSON that does not."""

    schema: str = setting(
        '{"type": "object"}', kind="text", label="JSON schema",
        help="A JSON schema (draft 2020-12) as text; references to other files are not followed.",
    )  # fmt: skip

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1, 0.5 or 0. Raises UserError `reward_schema_wrong`."""
        del row
        validator = _validator(self.schema)
        text = final_answer(completion.text, "whole") or ""
        if fenced := _FENCE.search(text):
            text = fenced.group(1)
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return 0.0
        return 1.0 if validator.is_valid(value) else 0.5


@lru_cache(maxsize=16)
def _validator(schema: str) -> Any:
    try:
        parsed = orjson.loads(schema)
        Draft202012Validator.check_schema(parsed)
    except (orjson.JSONDecodeError, SchemaError) as error:
        raise UserError("reward_schema_wrong", reason=str(error).splitlines()[0][:200]) from error
    return Draft202012Validator(parsed, registry=Registry())


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
