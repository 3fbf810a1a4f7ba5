"""Answers put before a judge, its words read, and what all of them say together. Knows no judge, no files and no network.

Pairwise: each prompt is asked twice with the places swapped. Rubric: each answer is scored alone. Zheng et al., "Judging LLM-as-a-Judge
with MT-Bench and Chatbot Arena", 2023. A question without a readable answer is counted by its reason and left out, never guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunesmith.errors import UserError
from tunesmith.evaluation.intervals import IntervalRules, MeanInterval, PairedComparison, compare_paired, mean_interval
from tunesmith.evaluation.judge_prompts import LANGUAGES, MODES, fill_prompt, score_words
from tunesmith.evaluation.judge_reading import read_scores, read_winner
from tunesmith.evaluation.verdicts import JudgeResult, Verdict, judge_result
from tunesmith.settings.fields import check_values, setting

SCALES: Mapping[str, tuple[int, int]] = {"1-10": (1, 10), "1-5": (1, 5)}
MEAN = ""  # the name of the mean over all criteria
MOST_CRITERIA = 12
Line = dict[str, Any]


@dataclass(frozen=True)
class JudgeRules:
    """How answers are judged."""

    mode: str = setting(
        "pairwise", choices=MODES, label="Kind of judgement",
        help="Two answers: which is better, asked in both orders. One answer: scores by criteria, each variant alone.",
    )  # fmt: skip
    language: str = setting(
        "en",
        choices=LANGUAGES,
        label="Language of the judge's prompt",
        help="The language in which the judge is asked and explains itself.",
    )
    rows: int = setting(
        100, minimum=1, maximum=100_000, unit="rows", label="Prompts",
        help="The first so many held-out rows are judged. More give a narrower interval, and cost more.",
    )  # fmt: skip
    criteria: tuple[str, ...] = setting(
        ("correctness", "completeness", "clarity"), label="Criteria", kind="hidden", help="One per line; the judge scores each of them."
    )
    scale: str = setting("1-10", choices=tuple(SCALES), label="Scale", kind="hidden", help="The lowest and the highest score.")
    max_tokens: int = setting(
        512, minimum=16, maximum=8192, unit="tokens", label="Longest judgement",
        help="A judgement that is longer is cut and counts as unreadable. Judges that think aloud need 2,000 or more.",
    )  # fmt: skip
    temperature: float = setting(
        0.0, minimum=0.0, maximum=2.0, label="Temperature", advanced=True, help="0 asks for the likeliest judgement; keep it for verdicts."
    )
    price_in: float = setting(
        0.0, minimum=0.0, maximum=10_000.0, label="Price per million tokens asked", advanced=True,
        help="As your provider lists it, in its currency. 0: no cost is told.",
    )  # fmt: skip
    price_out: float = setting(
        0.0, minimum=0.0, maximum=10_000.0, label="Price per million tokens answered", advanced=True,
        help="As your provider lists it, in its currency. 0: no cost is told.",
    )  # fmt: skip
    parallel: int = setting(
        4,
        minimum=1,
        maximum=32,
        label="Questions at a time",
        advanced=True,
        help="How many an endpoint is asked at once. 1 for a small server.",
    )
    attempts: int = setting(
        4, minimum=1, maximum=10, label="Attempts", advanced=True,
        help="How often a busy or broken endpoint is asked before the question is left out.",
    )  # fmt: skip
    timeout_seconds: int = setting(
        120, minimum=1, maximum=1800, label="Wait for an answer (seconds)", advanced=True,
        help="After this many seconds without a word the question is asked again.",
    )  # fmt: skip

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest score."""
        return SCALES[self.scale]

    @property
    def has_prices(self) -> bool:
        """Whether a cost can be told."""
        return self.price_in > 0 or self.price_out > 0

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        """Return what so many tokens cost, in the prices' currency; None without prices."""
        return (prompt_tokens * self.price_in + completion_tokens * self.price_out) / 1e6 if self.has_prices else None


def check_rules(rules: JudgeRules) -> None:
    """Refuse rules that cannot be asked by. Raises UserError `setting_…`, `judge_criteria_wrong`."""
    check_values(rules)
    names = [name.strip().lower() for name in rules.criteria]
    if rules.mode == "rubric" and not (0 < len(names) == len(set(names)) <= MOST_CRITERIA and all(names)):
        raise UserError("judge_criteria_wrong", most=MOST_CRITERIA)


@dataclass(frozen=True)
class Case:
    """A prompt with the answers of the variants, by key, and the answer that the row gives."""

    row: int
    question: str
    reference: str | None
    answers: Mapping[str, str]


@dataclass(frozen=True)
class JudgeQuestion:
    """What a judge is asked about a row: both answers in one order, or one `variant`'s. `swapped`: the right variant stands first."""

    row: int
    text: str
    swapped: bool = False
    variant: str = ""

    @property
    def key(self) -> tuple[int, bool, str]:
        """What tells it from the others of one judgement."""
        return self.row, self.swapped, self.variant


def key_of(line: Mapping[str, Any]) -> tuple[int, bool, str]:
    """Return the key of the question that a line of verdicts answers."""
    return int(line["row"]), bool(line.get("swapped", False)), str(line.get("variant", ""))


def make_questions(cases: Iterable[Case], rules: JudgeRules, variants: Sequence[str], template: str) -> Iterator[JudgeQuestion]:
    """Yield the questions on the cases that every variant has answered: two orders of the two variants, or one of each variant."""
    words = score_words(rules.criteria, *rules.limits)
    for case in cases:
        if not all(variant in case.answers for variant in variants):
            continue
        about = {**words, "question": case.question, "reference": case.reference}
        if rules.mode == "rubric":
            for variant in variants:
                values = about | {"answer": case.answers[variant]}
                yield JudgeQuestion(case.row, fill_prompt(template, rules.mode, rules.language, values), variant=variant)
            continue
        left, right = (case.answers[variant] for variant in variants)
        for swapped in (False, True):
            first, second = (right, left) if swapped else (left, right)
            values = about | {"answer_a": first, "answer_b": second}
            yield JudgeQuestion(case.row, fill_prompt(template, rules.mode, rules.language, values), swapped=swapped)


def describe(
    question: JudgeQuestion, rules: JudgeRules, text: str, was_cut: bool, prompt_tokens: int | None, completion_tokens: int | None
) -> Line:
    """Return the line of a judge's answer: what it said, how that reads, and the tokens where they are told."""
    said: Line = {"row": question.row}
    if rules.mode == "pairwise":
        read = read_winner(text, question.text, was_cut)
        said |= {"swapped": question.swapped, "verdict": read.verdict}
    else:
        read = read_scores(text, rules.criteria, *rules.limits, question.text, was_cut)
        said |= {"variant": question.variant, "scores": dict(read.scores)}
    return said | {"problem": read.problem, "text": text, "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}


def describe_failure(question: JudgeQuestion, error: UserError) -> Line:
    """Return the line of a question that got no answer; it is asked again when the judging goes on."""
    side: Line = {"variant": question.variant, "scores": {}} if question.variant else {"swapped": question.swapped, "verdict": ""}
    return {"row": question.row, **side, "problem": failure_kind(error), "error": error.as_record(), "text": ""}


def failure_kind(error: UserError) -> str:
    """Return why an endpoint gave no answer: `timeout`, `unreachable`, `busy`, `server_error`, `refused` or `bad_answer`."""
    if error.code == "endpoint_unreachable":
        return "timeout" if "Timeout" in str(error.facts["reason"]) else "unreachable"
    if error.code == "endpoint_refused":
        status = int(str(error.facts["status"]))
        return "busy" if status == 429 else "server_error" if status >= 500 else "refused"
    return "bad_answer"


def latest(lines: Iterable[Mapping[str, Any]]) -> dict[tuple[int, bool, str], Line]:
    """Return the last line of each question: an answer goes before an earlier failure."""
    return {key_of(line): dict(line) for line in lines}


def is_answered(line: Mapping[str, Any]) -> bool:
    """Return whether a judge has said something, readable or not."""
    return "error" not in line


@dataclass(frozen=True)
class CriterionResult:
    """Means of one criterion by variant, and each later variant against the first (which is the left one) on the same rows."""

    criterion: str
    means: Mapping[str, MeanInterval]
    differences: Mapping[str, PairedComparison]


@dataclass(frozen=True)
class Judgement:
    """What a judge has said so far. `failures` counts by problem; `examples` holds a line of each.

    Tokens are sums of what was told, None when nothing was; `untold` answers had no figures, so a cost is then the least.
    """

    asked: int
    unanswered: int
    failures: Mapping[str, int]
    examples: Mapping[str, Line]
    prompt_tokens: int | None
    completion_tokens: int | None
    untold: int
    cost: float | None
    pairwise: JudgeResult | None = None
    rubric: tuple[CriterionResult, ...] = ()

    @property
    def left_out(self) -> int:
        """How many questions have no readable answer."""
        return sum(self.failures.values())


def sum_up(
    found: Iterable[Mapping[str, Any]], rules: JudgeRules, variants: Sequence[str], intervals: IntervalRules | None = None
) -> Judgement:
    """Return what the lines of verdicts say together; of several lines of one question the last counts, for the tokens all do."""
    every = [dict(line) for line in found]
    lines = sorted(latest(every).values(), key=key_of)  # answers come in any order: the same ones give the same interval
    problems = [line for line in lines if line["problem"]]
    prompt, completion = (_told(every, name) for name in ("prompt_tokens", "completion_tokens"))
    return Judgement(
        asked=len(lines), unanswered=sum(not is_answered(line) for line in lines),
        failures=dict(Counter(line["problem"] for line in problems).most_common()),
        examples={line["problem"]: line for line in reversed(problems)}, prompt_tokens=prompt, completion_tokens=completion,
        untold=sum(is_answered(line) and not (line.get("prompt_tokens") and line.get("completion_tokens")) for line in every),
        cost=None if prompt is None and completion is None else rules.cost(prompt or 0, completion or 0),
        pairwise=judge_result(map(_verdict, lines), intervals) if rules.mode == "pairwise" else None,
        rubric=tuple(_criteria(lines, rules, variants, intervals)) if rules.mode == "rubric" else (),
    )  # fmt: skip


def _verdict(line: Line) -> Verdict:
    return Verdict(str(line["row"]), bool(line["swapped"]), str(line["verdict"]))


def _told(lines: Sequence[Line], name: str) -> int | None:
    told = [int(line[name]) for line in lines if line.get(name)]
    return sum(told) if told else None


def _criteria(
    lines: Sequence[Line], rules: JudgeRules, variants: Sequence[str], intervals: IntervalRules | None
) -> Iterator[CriterionResult]:
    """Yield the result of each criterion, and of their mean first when there are several."""
    rows = sorted({int(line["row"]) for line in lines})
    scores = {(int(line["row"]), str(line["variant"])): line["scores"] for line in lines}
    for name in (*((MEAN,) if len(rules.criteria) > 1 else ()), *rules.criteria):
        of = {variant: np.array([_score(scores.get((row, variant), {}), name) for row in rows]) for variant in variants}
        yield CriterionResult(
            name, {variant: mean_interval(values, intervals) for variant, values in of.items()},
            {variant: compare_paired(of[variants[0]], of[variant], intervals) for variant in variants[1:]},
        )  # fmt: skip


def _score(scores: Mapping[str, float], name: str) -> float:
    if not scores:
        return np.nan
    return float(np.mean(list(scores.values()))) if name == MEAN else float(scores[name])
