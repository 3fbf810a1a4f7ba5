"""Rewards for the form of an answer: think and answer tags, a pattern, JSON by schema, numbered steps. Knows texts, no models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.data.answer_forms import check_pattern, has_pattern, json_form
from tunesmith.data.answers import PLACES, final_answer
from tunesmith.errors import UserError
from tunesmith.settings.fields import setting
from tunesmith.training.rewards.spec import Completion

_TAGS = re.compile(r"(</?(?:think|answer)>)")
_IN_ORDER = ["<think>", "</think>", "<answer>", "</answer>"]
_STEP = re.compile(
    r"^[^\S\n]*+(?:[#>]+[^\S\n]*+)?(?:\*\*|__)?"
    r"(?:step[^\S\n]*\d|\d{1,3}[.):．）：、](?!\d)|[-*•・]\s|(?:first|second|third|next|then|finally)\b|手順[^\S\n]*\d|ステップ[^\S\n]*\d)",
    re.IGNORECASE | re.MULTILINE,
)
_JSON_WORTH = {"fits": 1.0, "other": 0.5, "none": 0.0}


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
        """Return 1 or 0. Raises UserError `reward_option_empty`, `pattern_wrong`, `pattern_slow`."""
        del row
        if not self.pattern:
            raise UserError("reward_option_empty", option="pattern")
        check_pattern(self.pattern)  # a wrong one is told even when there is nothing to search
        found = final_answer(completion.text, self.place)
        return float(found is not None and has_pattern(self.pattern, found))


@dataclass(frozen=True)
class JsonSchema:
    """1 when the answer is JSON that fits a schema, half when it is JSON that does not."""

    schema: str = setting(
        '{"type": "object"}', kind="text", label="JSON schema",
        help="A JSON schema (draft 2020-12) as text; references to other files are not followed.",
    )  # fmt: skip

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1, 0.5 or 0. Raises UserError `schema_wrong`, `pattern_slow`."""
        del row
        return _JSON_WORTH[json_form(completion.text, self.schema)]


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
