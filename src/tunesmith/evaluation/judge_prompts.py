"""What a judge is asked: the shipped templates, the check of a template that a person wrote, and its filling. Knows no judge."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tunesmith.errors import UserError

MODES = ("pairwise", "rubric")
LANGUAGES = ("en", "ja")
NEEDED: Mapping[str, tuple[str, ...]] = {"pairwise": ("question", "answer_a", "answer_b"), "rubric": ("question", "answer")}
OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "pairwise": ("reference",),
    "rubric": ("reference", "criteria", "lowest", "highest", "score_lines"),
}
_NAME = re.compile(r"\{([a-z_]+)\}")


@functools.cache
def _shipped() -> dict[str, dict[str, str]]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def default_prompt(mode: str, language: str) -> str:
    """Return the shipped template of a mode (`pairwise`, `rubric`) in a language (`en`, `ja`)."""
    return _shipped()[language][mode].strip()


def check_prompt(template: str, mode: str) -> None:
    """Refuse a template that leaves out what must be judged. Raises UserError `judge_prompt_incomplete` with the names that are missing."""
    missing = [name for name in NEEDED[mode] if f"{{{name}}}" not in template]
    if missing:
        raise UserError("judge_prompt_incomplete", missing=", ".join(f"{{{name}}}" for name in missing))


def fill_prompt(template: str, mode: str, language: str, values: Mapping[str, str | None]) -> str:
    """Return the template with its names replaced, in one pass: braces in an answer stay what they are, as do unknown names.

    A missing reference and an empty answer are said to be so.
    """
    words = _shipped()[language]
    known = {*NEEDED[mode], *OPTIONAL[mode]}

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in known:
            return match[0]
        text = values.get(name)
        return text if text and text.strip() else words["none" if name == "reference" else "empty"]

    return _NAME.sub(value, template)


def score_words(criteria: Sequence[str], lowest: int, highest: int) -> dict[str, str]:
    """Return what the rubric's names say of criteria and scale."""
    return {
        "criteria": ", ".join(criteria), "lowest": str(lowest), "highest": str(highest),
        "score_lines": "\n".join(f"{name}: <{lowest}-{highest}>" for name in criteria),
    }  # fmt: skip
