"""Rewards for the words of an answer: keywords, language, a checklist. Knows texts, no models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.data.answers import final_answer, normalize_answer, split_words
from tunesmith.data.japanese import main_language
from tunesmith.errors import UserError
from tunesmith.settings.fields import setting
from tunesmith.training.rewards.layout import Pattern
from tunesmith.training.rewards.spec import Completion

LANGUAGES = ("latin", "ja", "zh", "ko", "ru", "ar")
CHECKS = ("contains", "lacks", "matches", "words_at_least", "words_at_most")


@dataclass(frozen=True)
class Keywords:
    """The share of the wished words that occur, 0 when a forbidden one does."""

    wanted: tuple[str, ...] = setting(tuple, label="Wished words", help="One per line, in any case. The reward is the share that occurs.")
    forbidden: tuple[str, ...] = setting(tuple, label="Forbidden words", help="One per line. A single one makes the reward 0.")

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return a share in 0..1. Raises UserError `reward_option_empty` when no word is named."""
        del row
        wanted, forbidden = _words("wanted", self.wanted), _words("forbidden", self.forbidden)
        if not wanted and not forbidden:
            raise UserError("reward_option_empty", option="wanted")
        text = normalize_answer(completion.text)
        if not text or any(word in text for word in forbidden):
            return 0.0
        return sum(word in text for word in wanted) / len(wanted) if wanted else 1.0


def _words(option: str, words: tuple[object, ...]) -> list[str]:
    """Return words ready to be compared, empty ones left out; a number counts as its digits, as YAML reads them so."""
    for word in words:
        if isinstance(word, bool) or not isinstance(word, str | int | float):
            raise UserError("setting_type", field=option, value=word, expected="str")
    return [usual for word in words if (usual := normalize_answer(str(word)))]


@dataclass(frozen=True)
class Language:
    """1 when the answer is written in a language, told by its script."""

    language: str = setting(
        "ja", choices=LANGUAGES, label="Language",
        help="Languages are told by their script, so English and German are both latin.",
    )  # fmt: skip

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return 1 or 0; a text without letters is in no language."""
        del row
        return float(main_language(completion.text) == self.language)


@dataclass(frozen=True)
class Rubric:
    """The weighted share of a checklist that holds (Rubrics as Rewards, with checks in the judge's place)."""

    criteria: tuple[str, ...] = setting(
        tuple, label="Criteria",
        help="One per line: contains: word, lacks: word, matches: pattern, words_at_least: 20, words_at_most: 80. "
        "A number before it is its weight: 2 contains: therefore.",
    )  # fmt: skip

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return a share in 0..1. Raises UserError `reward_criterion_wrong`, `reward_option_empty`, `pattern_…`."""
        if not self.criteria:
            raise UserError("reward_option_empty", option="criteria")
        parsed = [_parse(line) for line in self.criteria]
        held = sum(weight for weight, check, value in parsed if _holds(check, value, completion, row))
        return held / sum(weight for weight, _, _ in parsed)


def _parse(line: object) -> tuple[float, str, str]:
    if not isinstance(line, str):
        raise UserError("setting_type", field="criteria", value=line, expected="str")
    head, _, value = line.partition(":")
    number, _, check = " ".join(head.split()).rpartition(" ")
    try:
        weight = float(number) if number else 1.0
        counted = check.startswith("words_at") and int(value) < 0
    except ValueError as error:
        raise UserError("reward_criterion_wrong", criterion=line[:100], checks=", ".join(CHECKS)) from error
    if check not in CHECKS or not value.strip() or not 0 < weight < 1e6 or counted:
        raise UserError("reward_criterion_wrong", criterion=line[:100], checks=", ".join(CHECKS))
    return weight, check, value.strip()


def _holds(check: str, value: str, completion: Completion, row: Mapping[str, Any]) -> bool:
    answer = final_answer(completion.text, "whole") or ""
    if check in {"contains", "lacks"}:
        return bool(answer) and (normalize_answer(value) in normalize_answer(answer)) == (check == "contains")
    if check == "matches":
        return bool(Pattern(value).score(completion, row))
    words = len(split_words(answer))
    return words >= int(value) if check == "words_at_least" else 0 < words <= int(value)
