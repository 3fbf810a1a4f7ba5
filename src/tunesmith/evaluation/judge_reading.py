"""A judge's words to a verdict or scores, in strict forms only; anything else is unreadable and says why. Knows no judge and no variants.

Verdicts: `[[A]]`, `[[B]]`, `[[C]]` (a tie), or an object `{"winner": "A"}`. Scores: a line `name: 7` for each criterion, `name: 7/10`,
or an object of them; with one criterion also `Score: 7` and `[[7]]`. The last one counts, since judges weigh before they decide; two
that differ in one line, or in two forms, contradict each other. Full-width letters and digits read as the usual ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.data.answers import usual_width
from tunesmith.data.json_objects import find_objects

FIRST, SECOND, TIE = "first", "second", "tie"
_MEANING = {"a": FIRST, "b": SECOND, "c": TIE, "tie": TIE, "draw": TIE, "引き分け": TIE, "同点": TIE}
_MARK = re.compile(r"\[\[\s*(a|b|c|tie|draw|引き分け|同点)\s*\]\]", re.IGNORECASE)
_ANY_SCORE = ("score", "rating", "overall", "スコア", "点数", "得点", "評価")
_NUMBER = (
    r"(?:(?P<full>\d+)点満点(?:中|で)[ \t]*)?(?P<value>\d+(?:\.\d+)?)(?=点|\W|$)"
    r"(?:点?[ \t*_]*\(?[ \t]*(?:/|(?:out )?of\b)[ \t]*(?P<of>\d+)|点?[ \t]*\((?P<out_of>\d+)点満点)?"
)
_RANGE = re.compile(r"[.,]\d|[ \t]*(?:-|–|~|〜|to\b|or\b|から|か)[ \t]*\d")
_READ_CHARACTERS = 20_000  # a verdict stands at the end


@dataclass(frozen=True)
class Reading:
    """What a judge said: a `verdict` (`first`, `second`, `tie`) or `scores` by criterion; else nothing, and the `problem` tells why.

    Problems: `cut`, `empty`, `no_mark`, `contradiction`, `missing_criterion`, `out_of_range`, `other_scale`.
    """

    verdict: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""


def read_winner(text: str, asked: str = "", was_cut: bool = False) -> Reading:
    """Return the verdict in a judge's answer to `asked`; what it only repeats of the question counts for nothing."""
    spoken = _spoken(text, asked, was_cut)
    if isinstance(spoken, Reading):
        return spoken
    marks = [(match.start(), _MEANING[match[1].lower()]) for match in _MARK.finditer(spoken)]
    objects = [
        (begin, _MEANING[str(found["winner"]).strip().lower()])
        for begin, found in find_objects(spoken)
        if str(found.get("winner")).strip().lower() in _MEANING
    ]
    last = {verdict for form in (marks, objects) for verdict in _last_line(spoken, form)}
    if not last:
        return Reading(problem="no_mark")
    return Reading(problem="contradiction") if len(last) > 1 else Reading(verdict=last.pop())


def read_scores(text: str, criteria: Sequence[str], lowest: int, highest: int, asked: str = "", was_cut: bool = False) -> Reading:
    """Return a score between `lowest` and `highest` for each of the criteria; one that is missing or beside the scale spoils all."""
    spoken = _spoken(text, asked, was_cut)
    if isinstance(spoken, Reading):
        return spoken
    scores: dict[str, float] = {}
    for name in criteria:
        found = list(_scores_of(spoken, name, len(criteria) == 1, highest))
        values = {value for value in found if not isinstance(value, str)}
        if problem := next((value for value in found if isinstance(value, str)), ""):
            return Reading(problem=problem)
        if len(values) > 1:
            return Reading(problem="contradiction")
        if values:
            scores[name] = values.pop()
    if len(scores) < len(criteria):
        return Reading(problem="missing_criterion" if scores else "no_mark")
    if any(not lowest <= value <= highest for value in scores.values()):
        return Reading(problem="out_of_range")
    return Reading(scores=scores)


def _spoken(text: str, asked: str, was_cut: bool) -> str | Reading:
    """Return what a judge says after it has thought, or why there is nothing."""
    if was_cut:
        return Reading(problem="cut")  # it was still weighing
    said = text.rpartition("</think>")[2].partition("<think>")[0]
    repeated = {line.strip() for line in asked.splitlines() if len(line.strip()) > len("[[A]]")}
    lines = [line for line in said.splitlines() if line.strip() not in repeated]
    said = usual_width("\n".join(lines))[-_READ_CHARACTERS:]
    return said if said.strip() else Reading(problem="empty" if not text.strip() else "no_mark")


def _last_line(text: str, found: Sequence[tuple[int, Any]]) -> list[Any]:
    """Return what was found in the line of the last find."""
    if not found:
        return []
    begin = text.rfind("\n", 0, found[-1][0]) + 1
    return [value for place, value in found if place >= begin]


def _scores_of(text: str, name: str, alone: bool, highest: int) -> Iterator[float | str]:
    """Yield the last score of each form, or the code of what is wrong with it."""
    names = [name, *(_ANY_SCORE if alone else ())]
    said = "|".join(re.escape(usual_width(each)) for each in names)
    forms = [rf"^[^\w\n]*_*(?:{said})[^\w\n]*?_*[:=][ \t*_\[]*{_NUMBER}"]
    if alone:
        forms.append(rf"\[\[[ \t]*{_NUMBER}[ \t]*\]\]")
    for form in forms:
        matches = list(re.finditer(form, text, re.IGNORECASE | re.MULTILINE))
        yield from _last_line(text, [(match.start("value"), _value(match, text, highest)) for match in matches])
    wanted = {usual_width(each).lower() for each in names}
    found = []
    for begin, made in find_objects(text):
        inner = made.get("scores")
        scores = inner if isinstance(inner, dict) else made
        values = [value for key, value in scores.items() if usual_width(str(key)).strip().lower() in wanted]
        found += [(begin, _plain_number(value)) for value in values]
    yield from _last_line(text, found)


def _value(match: re.Match[str], text: str, highest: int) -> float | str:
    if any(match[name] is not None and int(match[name]) != highest for name in ("full", "of", "out_of")):
        return "other_scale"
    return "contradiction" if _RANGE.match(text, match.end()) else float(match["value"])


def _plain_number(value: object) -> float | str:
    if isinstance(value, str) and re.fullmatch(r"\d+(?:\.\d+)?", value.strip()):
        return float(value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else "out_of_range"
