"""A judge's pairwise verdicts to a win rate, each prompt asked in both orders. Knows no judge and no prompts' texts.

A judge that likes the first place reads a variant too well in one order and too badly in the other; the mean of both is nearer to the
truth (Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", 2023, section 3.4). So only prompts with a verdict in
both orders count; what could not be read is counted and left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tunesmith.evaluation.gate import GateRule, GateVerdict, ask_gate
from tunesmith.evaluation.intervals import IntervalRules, mean_interval

Floats = npt.NDArray[np.float64]
UNREADABLE = ""
WORTH = {"first": 1.0, "second": 0.0, "tie": 0.5}


@dataclass(frozen=True)
class Verdict:
    """What a judge said of a prompt: `first`, `second`, `tie`, or anything else when it could not be read.

    `swapped`: the right variant stood first.
    """

    prompt: str
    swapped: bool
    answer: str


@dataclass(frozen=True)
class JudgeResult:
    """How often the left variant is preferred, a tie as half, over the prompts with a readable verdict in both orders.

    `prompts` are those, `left_out` the others; `unreadable` of `verdicts`. `consistency`: the share of prompts where both orders name
    the same variant, or both a tie. `rate_first` and `rate_second`: the left variant's rate while it stood first and second.
    `first_share`: of the decided verdicts, those for the first place (0.5: no liking). None where there is nothing to count.
    """

    prompts: int
    left_out: int
    verdicts: int
    unreadable: int
    win_rate: float | None
    low: float | None
    high: float | None
    note: str
    consistency: float | None
    rate_first: float | None
    rate_second: float | None
    first_share: float | None
    decision: GateVerdict

    @property
    def unreadable_share(self) -> float | None:
        """The share of the verdicts that could not be read."""
        return self.unreadable / self.verdicts if self.verdicts else None


def judge_result(verdicts: Iterable[Verdict], rules: IntervalRules | None = None) -> JudgeResult:
    """Return the win rate of the left variant with its interval over prompts; several verdicts of one prompt and order are averaged."""
    rules = rules or IntervalRules()
    asked = list(verdicts)
    orders: tuple[dict[str, list[float]], dict[str, list[float]]] = ({}, {})
    for verdict in asked:
        worth = WORTH.get(verdict.answer, np.nan)
        orders[verdict.swapped].setdefault(verdict.prompt, []).append(1 - worth if verdict.swapped else worth)
    names = dict.fromkeys(verdict.prompt for verdict in asked)
    first, second = (np.array([_mean(order.get(name, [])) for name in names]) for order in orders)
    both = np.isfinite(first) & np.isfinite(second)
    rates = (first + second)[both] / 2
    interval = mean_interval(rates, rules)
    decided = [verdict.answer == "first" for verdict in asked if verdict.answer in {"first", "second"}]
    same = np.sign(first[both] - 0.5) == np.sign(second[both] - 0.5)
    decision = ask_gate(rates, 1 - rates, GateRule(confidence=rules.confidence), rules)
    return JudgeResult(
        interval.rows, len(names) - interval.rows, len(asked), sum(verdict.answer not in WORTH for verdict in asked),
        interval.mean, interval.low, interval.high, interval.note, _share(same), _share(first[both]), _share(second[both]),
        _share(np.array(decided)), decision,
    )  # fmt: skip


def _mean(worths: list[float]) -> float:
    known = [worth for worth in worths if np.isfinite(worth)]
    return sum(known) / len(known) if known else np.nan


def _share(values: npt.NDArray[np.generic]) -> float | None:
    return float(values.astype(float).mean()) if len(values) else None
