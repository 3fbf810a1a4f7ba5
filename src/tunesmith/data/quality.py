"""Checks of a whole data set, each a line in a table: what spoils a fine-tune, where, and which rows cleaning would leave out.

Streams over the splits once; keeps hashes, not texts. Test and validation rows come first, so that of two rows the trained one goes.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tunesmith.data.formats import as_messages, as_prompt, row_kind
from tunesmith.data.japanese import main_language, normalize_text, width_problems
from tunesmith.data.near_duplicates import BLOCK, NearDuplicateIndex
from tunesmith.data.patterns import (
    CONTROLS,
    MOJIBAKE,
    PHONES,
    SECRET_MARKS,
    SECRETS,
    find,
    find_boilerplate,
    find_email,
    loops,
    mask_emails,
    mask_secrets,
    strip_controls,
)  # fmt: skip
from tunesmith.data.row_files import RowFile
from tunesmith.data.split import prompt_key

EXAMPLES = 5
EXCERPT_CHARACTERS = 300
LANGUAGE_CHARACTERS = 400  # of a row's text, enough to tell its scripts
RARE_LANGUAGE = 0.1
LONG_FACTOR = 10
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class QualityRules:
    """What the checks depend on."""

    near_threshold: float = field(default=0.85, metadata={"help": "Jaccard similarity from which two rows are near duplicates."})


@dataclass
class Finding:
    """What one check found; `rows` are the places, from 0, of what cleaning may drop, none where the check is a hint only."""

    code: str
    severity: str
    count: int = 0
    share: float = 0.0
    examples: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, list[int]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def note(self, split: str, number: int, text: str) -> None:
        """Count a row, and show it while there are few."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append({"split": split, "row": number, "text": text[:EXCERPT_CHARACTERS]})
        self.rows.setdefault(split, []).append(number)

    def as_record(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "code": self.code, "severity": self.severity, "count": self.count, "share": self.share, "examples": self.examples,
            "rows": self.rows if self.severity == "problem" else {}, "facts": self.facts,
        }  # fmt: skip


@dataclass(frozen=True)
class RowTexts:
    """A row as the checks see it: its values, turns of (role, text), and all text."""

    value: Mapping[str, Any]
    turns: list[tuple[str, str]]
    text: str

    @property
    def answers(self) -> list[str]:
        """The assistant's texts."""
        return [text for role, text in self.turns if role == "assistant"]


def texts_of(value: Mapping[str, Any]) -> RowTexts:
    """Return a canonical row's texts."""
    turns = [(m["role"], m["content"]) for m in as_messages(value) or as_prompt(value)] or [("text", str(value.get("text", "")))]
    others = [value["rejected"]] if "rejected" in value and "chosen" in value else value.get("completions", [])
    return RowTexts(value, turns, "\n".join([text for _, text in turns] + [text for text in others if isinstance(text, str)]))


def _around(text: str, found: Any) -> str:
    return text[max(0, found.start() - 60) : found.end() + 60] if found else ""


def _control_characters(row: RowTexts) -> str:
    found = CONTROLS.search(row.text)
    return repr(_around(row.text, found)) if found else ""


def _one_sided(row: RowTexts) -> str:
    roles = {role for role, text in row.turns if text.strip()}
    is_conversation = row.turns[0][0] != "text" and row_kind(row.value) != "prompt"
    return row.text if is_conversation and not {"user", "assistant"} <= roles else ""


# of one row alone: code → (severity, what shows it, or nothing). `problem`: cleaning can drop the rows. `hint`: only shown.
ROW_CHECKS: dict[str, tuple[str, Callable[[RowTexts], str]]] = {
    "one_sided": ("problem", _one_sided),
    "empty_turns": ("problem", lambda row: row.text or "–" if any(not text.strip() for role, text in row.turns if role != "tool") else ""),
    "same_answers": ("problem", lambda row: row.value["chosen"] if row.value.get("chosen", 0) == row.value.get("rejected", 1) else ""),
    "secrets": ("problem", lambda row: _around(row.text, find(SECRETS, row.text, SECRET_MARKS))),
    "email_addresses": ("problem", lambda row: find_email(row.text) if "@" in row.text else ""),
    "phone_numbers": ("hint", lambda row: _around(row.text, find(PHONES, row.text, ("-", "+")))),
    "mojibake": ("problem", lambda row: "" if row.text.isascii() else _around(row.text, MOJIBAKE.search(row.text))),
    "control_characters": ("problem", _control_characters),
    "width_forms": ("hint", lambda row: row.text if not row.text.isascii() and width_problems(row.text) else ""),
    "boilerplate": ("problem", lambda row: next((_around(a, m) for a in row.answers if (m := find_boilerplate(a))), "")),
    "loops": ("problem", lambda row: next((answer[-EXCERPT_CHARACTERS:] for answer in row.answers if loops(answer)), "")),
}  # fmt: skip
SET_CHECKS = {
    "exact_duplicates": "problem", "near_duplicates": "problem", "leakage": "problem", "repeated_prompts": "hint",
    "language_mix": "problem", "very_long": "hint", "label_imbalance": "hint",
}  # fmt: skip
CHECKS = (*SET_CHECKS, *ROW_CHECKS)
DROPPING = tuple(code for code in CHECKS if (SET_CHECKS.get(code) or ROW_CHECKS[code][0]) == "problem")


def check_quality(splits: Mapping[str, RowFile], rules: QualityRules, progress: Progress | None = None) -> list[Finding]:
    """Return a finding of every check, also of those that found nothing."""
    survey = _Survey(splits, rules)
    total = sum(len(rows) for rows in splits.values())
    for done, (split, number, row) in enumerate(survey.read()):
        survey.look_at(split, number, row)
        if progress and done % 200 == 0:
            progress(done, total)
    return survey.finish()


class _Survey:
    """What is remembered while the rows go by."""

    def __init__(self, splits: Mapping[str, RowFile], rules: QualityRules) -> None:
        self._splits = {name: splits[name] for name in ("test", "valid", "train") if name in splits}
        self._places = [(name, number) for name, rows in self._splits.items() for number in range(len(rows))]
        self.found = {code: Finding(code, severity) for code, severity in SET_CHECKS.items()}
        self.found |= {code: Finding(code, severity) for code, (severity, _) in ROW_CHECKS.items()}
        self._texts: dict[bytes, str] = {}
        self._prompts: dict[bytes, str] = {}
        self._flagged: set[int] = set()
        self._near = NearDuplicateIndex(rules.near_threshold, self._text_at)
        self._waiting: list[str] = []
        self._lengths = array("I")
        self._languages: list[str] = []
        self._labels: Counter[bool] = Counter()

    def read(self) -> Iterator[tuple[str, int, RowTexts]]:
        """Yield (split, place, row), test and validation rows first."""
        for split, rows in self._splits.items():
            for number, row in enumerate(rows):
                yield split, number, texts_of(row.value)

    def _text_at(self, index: int) -> str:
        split, number = self._places[index]
        return texts_of(self._splits[split].page(number, 1)[0].value).text

    def look_at(self, split: str, number: int, row: RowTexts) -> None:
        """Check a row by itself and beside those before."""
        for code, (_, show) in ROW_CHECKS.items():
            if shown := show(row):
                self.found[code].note(split, number, shown)
        self._compare(split, number, row)
        self._lengths.append(len(row.text))
        self._languages.append(main_language(row.text[:LANGUAGE_CHARACTERS]))
        if isinstance(row.value.get("label"), bool):
            self._labels[row.value["label"]] += 1
        self._waiting.append(row.text)
        if len(self._waiting) >= BLOCK:
            self._find_near()

    def _compare(self, split: str, number: int, row: RowTexts) -> None:
        content = hashlib.blake2b(" ".join(row.text.casefold().split()).encode("utf-8", "replace"), digest_size=12).digest()
        asked = prompt_key(row.value)
        same, asked_in = self._texts.get(content), self._prompts.get(asked)
        if same:
            code = "exact_duplicates" if same == split else "leakage"
        elif asked_in:
            code = "repeated_prompts" if asked_in == split else "leakage"
        else:
            code = ""
        self._texts.setdefault(content, split)
        self._prompts.setdefault(asked, split)
        if code:
            self.found[code].note(split, number, row.text)
        if code in {"exact_duplicates", "leakage"}:
            self._flagged.add(len(self._lengths))

    def _find_near(self) -> None:
        """Compare the rows that wait with all before them."""
        first = len(self._lengths) - len(self._waiting)
        texts, self._waiting = self._waiting, []
        for index, earlier in self._near.add_block(first, texts):
            split, number = self._places[index]
            if index not in self._flagged:
                code = "near_duplicates" if self._places[earlier][0] == split else "leakage"
                self.found[code].note(split, number, f"{texts[index - first][: EXCERPT_CHARACTERS // 2]}\n≈\n{self._text_at(earlier)}")

    def finish(self) -> list[Finding]:
        """Return the findings once all rows have gone by."""
        if self._waiting:
            self._find_near()
        self._find_rare_languages()
        self._find_long()
        good, bad = self._labels[True], self._labels[False]
        if min(good, bad) < RARE_LANGUAGE * (good + bad):
            self.found["label_imbalance"].count = min(good, bad) or max(good, bad)
            self.found["label_imbalance"].facts = {"true": good, "false": bad}
        for finding in self.found.values():
            finding.share = finding.count / max(1, len(self._lengths))
        return list(self.found.values())

    def _find_rare_languages(self) -> None:
        counts = Counter(language for language in self._languages if language)
        rare = {language for language, count in counts.items() if count < RARE_LANGUAGE * sum(counts.values())}
        self.found["language_mix"].facts = dict(counts.most_common())
        for index, language in enumerate(self._languages):
            if language in rare:
                self.found["language_mix"].note(
                    *self._places[index], f"{language}: {self._text_at(index)}" if self._showing("language_mix") else ""
                )

    def _find_long(self) -> None:
        longest = LONG_FACTOR * int(np.median(self._lengths)) if self._lengths else 0
        for index, length in enumerate(self._lengths):
            if length > max(longest, EXCERPT_CHARACTERS):
                self.found["very_long"].note(*self._places[index], self._text_at(index) if self._showing("very_long") else "")

    def _showing(self, code: str) -> bool:
        return len(self.found[code].examples) < EXAMPLES


NORMALISATIONS: dict[str, Callable[[str], str]] = {
    "nfkc": normalize_text, "strip_controls": strip_controls, "trim": str.strip, "mask_emails": mask_emails, "mask_secrets": mask_secrets,
}  # fmt: skip
_TEXT_COLUMNS = ("prompt", "completion", "chosen", "rejected", "completions", "reasoning_steps", "answer", "text", "system", "messages")


def clean_value(value: dict[str, Any], names: tuple[str, ...]) -> tuple[dict[str, Any], set[str]]:
    """Return a canonical row with its texts normalised in the given order, and the names of the normalisations that changed one."""
    changed: set[str] = set()

    def clean(part: Any) -> Any:
        if isinstance(part, list):
            return [clean(inner) for inner in part]
        if isinstance(part, dict):
            return {name: clean(inner) if name == "content" else inner for name, inner in part.items()}
        for name in names if isinstance(part, str) else ():
            cleaned = NORMALISATIONS[name](part)
            if cleaned != part:
                changed.add(name)
                part = cleaned
        return part

    return {name: clean(part) if name in _TEXT_COLUMNS else part for name, part in value.items()}, changed
