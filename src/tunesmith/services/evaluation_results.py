"""What an evaluation found: figures with intervals, differences, the gate. Knows no models; its rows are evaluation_rows'."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tunesmith.errors import UserError
from tunesmith.evaluation.gate import GateRule, GateVerdict, ask_gate
from tunesmith.evaluation.intervals import (
    MEAN,
    Estimator,
    Floats,
    IntervalRules,
    MeanInterval,
    PairedComparison,
    compare_paired,
    mean_interval,
)
from tunesmith.evaluation.perplexity import LIKELIHOOD, likelihood_estimator
from tunesmith.jobs.answer_files import PREDICTIONS, read_answers
from tunesmith.jobs.job import error_of
from tunesmith.services.context import Services
from tunesmith.services.evaluations import Evaluation, list_evaluations
from tunesmith.services.variants import plain_names
from tunesmith.store.files import read_json, sha256_of

_RULES = IntervalRules()
T = TypeVar("T")
Stamp = tuple[int, int]  # when a file was changed, and its size


@dataclass(frozen=True)
class Figure:
    """A variant's figure of a metric with its interval over rows, the set's own where there is one, what was left out and why."""

    variant: str
    interval: MeanInterval
    whole: float | None
    not_applicable: int
    failed: int
    problem: UserError | None


@dataclass(frozen=True)
class Answers:
    """A variant's answers in figures: how many, their mean length, those cut at the longest length, those without text."""

    count: int
    tokens: float | None
    cut: int
    empty: int


@dataclass(frozen=True)
class Best:
    """What a candidate is compared with: a variant of this evaluation or of an earlier one, by its record."""

    evaluation: str
    evaluation_name: str
    record: dict[str, Any]
    earlier: bool


def read_scores(evaluation: Evaluation) -> dict[str, Any]:
    """Return what the job wrote; empty while it has not scored."""
    path = evaluation.job.folder / "scores.json"
    return _read(path, _stamp(path)) if path.exists() else {}


@lru_cache(maxsize=32)
def _read(path: Path, stamp: Stamp) -> dict[str, Any]:
    del stamp  # part of the cache's key only
    found: dict[str, Any] = read_json(path)
    return found


def measured(evaluation: Evaluation) -> list[str]:
    """Return the metrics that rows have figures of: those of the answers, then loss and perplexity where they were measured."""
    scores = read_scores(evaluation)
    losses = scores.get("likelihood", {})
    foretold = all("values" in losses.get(key, {}) for key in evaluation.variants)
    return [metric for metric in evaluation.metrics if metric in scores.get("metrics", {})] + (list(LIKELIHOOD) if foretold else [])


def values_of(evaluation: Evaluation, metric: str, variant: str) -> Floats:
    """Return a variant's figures of a metric [N], NaN where there is none; of loss and perplexity the rows' mean losses (nats per token).

    Raises UserError `evaluation_metric_missing`.
    """
    return np.array([np.nan if value is None else value for value in _record_of(evaluation, metric, variant)["values"]], np.float64)


def _record_of(evaluation: Evaluation, metric: str, variant: str) -> dict[str, Any]:
    """Return what the job wrote of a variant's metric. Raises UserError `evaluation_metric_missing`."""
    scores = read_scores(evaluation)
    found: dict[str, Any] = (scores.get("likelihood") if metric in LIKELIHOOD else scores.get("metrics", {}).get(metric)) or {}
    if "values" not in (record := found.get(variant, {})):
        raise UserError("evaluation_metric_missing", metric=metric, name=evaluation.name)
    return dict(record)


def _estimator_of(evaluation: Evaluation, metric: str, variant: str) -> Estimator:
    return likelihood_estimator(metric, _record_of(evaluation, metric, variant)["row_tokens"]) if metric in LIKELIHOOD else MEAN


def figures(evaluation: Evaluation, metric: str, rules: IntervalRules = _RULES) -> list[Figure]:
    """Return every variant's figure of a metric. Raises UserError `evaluation_metric_missing`."""
    found = []
    for variant in evaluation.variants:
        record, interval = _record_of(evaluation, metric, variant), _interval(evaluation, metric, variant, rules)
        not_applicable, failed = record.get("not_applicable", 0), record.get("failed", 0)
        found.append(Figure(variant, interval, record.get("whole"), not_applicable, failed, error_of({"error": record.get("problem")})))
    return found


def differences(evaluation: Evaluation, metric: str, baseline: str, rules: IntervalRules = _RULES) -> dict[str, PairedComparison]:
    """Return, for each other variant, its comparison with the baseline row by row.

    Losses of other tokens than the baseline's cannot be compared: those variants are missing. Raises UserError `evaluation_metric_missing`.
    """
    targets = _record_of(evaluation, metric, baseline).get("targets")
    others = [variant for variant in evaluation.variants if variant != baseline]
    comparable = [variant for variant in others if _record_of(evaluation, metric, variant).get("targets") == targets]
    return {variant: _compare(evaluation, metric, variant, baseline, rules) for variant in comparable}


def _interval(evaluation: Evaluation, metric: str, variant: str, rules: IntervalRules) -> MeanInterval:
    values, estimator = values_of(evaluation, metric, variant), _estimator_of(evaluation, metric, variant)
    return _once(mean_interval, (values,), rules, estimator)


def _compare(evaluation: Evaluation, metric: str, left: str, right: str, rules: IntervalRules) -> PairedComparison:
    both = values_of(evaluation, metric, left), values_of(evaluation, metric, right)
    return _once(compare_paired, both, rules, _estimator_of(evaluation, metric, left))


def _once(make: Callable[..., T], values: tuple[Floats, ...], rules: IntervalRules, estimator: Estimator) -> T:
    """Return an interval that each drawing of a page asks for again."""
    weights = None if estimator.weights is None else estimator.weights.tobytes()
    found: T = _make(make, tuple(each.tobytes() for each in values), rules, weights, estimator.exponential, estimator.smaller_is_better)
    return found


@lru_cache(maxsize=512)
def _make(make: Callable[..., Any], values: tuple[bytes, ...], rules: IntervalRules, weights: bytes | None, *kind: bool) -> Any:
    estimator = Estimator(None if weights is None else np.frombuffer(weights), *kind)
    return make(*map(np.frombuffer, values), rules, estimator)


def best_so_far(s: Services, evaluation: Evaluation, candidate: str, metric: str, against: str = "") -> tuple[Best, Floats]:
    """Return the best variant of the earlier evaluations of the same rows, asked in the same way, by a metric, with its figures [N].

    Without any, and when `against` names a variant of this evaluation, that one or the baseline. The candidate itself does not count.
    Raises UserError `evaluation_metric_missing`, `evaluation_tokens_differ`, `gate_same`.
    """
    targets = _record_of(evaluation, metric, candidate).get("targets")
    found: list[tuple[float, Best, Floats]] = []
    for earlier in _earlier(s, evaluation, metric) if not against else ():
        for key, variant in earlier.variants.items():
            if key == candidate or _record_of(earlier, metric, key).get("targets") != targets:
                continue
            figure = _interval(earlier, metric, key, _RULES).mean
            if figure is not None:
                best = Best(earlier.id, earlier.name, variant, earlier=True)
                found.append((-figure if metric in LIKELIHOOD else figure, best, values_of(earlier, metric, key)))
    if found:
        _, best, values = max(found, key=lambda each: each[0])
        return best, values
    chosen = against or evaluation.baseline
    if chosen == candidate or chosen not in evaluation.variants:
        raise UserError("gate_same", name=evaluation.variants[candidate]["name"])
    if _record_of(evaluation, metric, chosen).get("targets") != targets:
        raise UserError("evaluation_tokens_differ", left=evaluation.variants[candidate]["name"], right=evaluation.variants[chosen]["name"])
    return Best(evaluation.id, evaluation.name, evaluation.variants[chosen], earlier=False), values_of(evaluation, metric, chosen)


def _earlier(s: Services, evaluation: Evaluation, metric: str) -> list[Evaluation]:
    ways = _way_of_asking(evaluation, metric)
    return [
        each
        for each in list_evaluations(s)
        if each.job.status == "completed" and each.job.created_at < evaluation.job.created_at and _way_of_asking(each, metric) == ways
    ]


def _way_of_asking(evaluation: Evaluation, metric: str) -> tuple[Any, ...] | None:
    """Return what must be alike for figures to be compared: rows, sampling and system prompt, the metric with its settings or its file.

    None where it has no such figures, or none that can be read.
    """
    try:
        if metric not in measured(evaluation):
            return None
        asked = read_json(evaluation.job.folder / "fingerprint.json")
        file = evaluation.job.folder / "rewards" / metric.rpartition(":")[0]
        how = evaluation.job.request["system"] if metric in LIKELIHOOD else asked.get("settings")
        return asked["rows"], how, evaluation.metrics.get(metric), sha256_of(file) if ":" in metric else ""
    except (UserError, OSError, KeyError):
        return None


def ask(s: Services, evaluation: Evaluation, candidate: str, rule: GateRule, against: str = "") -> tuple[GateVerdict, Best]:
    """Return whether a variant is better than the best so far, and what that is; see `best_so_far`.

    Raises UserError `evaluation_metric_missing`, `evaluation_tokens_differ`, `gate_same`.
    """
    best, values = best_so_far(s, evaluation, candidate, rule.metric, against)
    estimator = _estimator_of(evaluation, rule.metric, candidate)
    return ask_gate(values_of(evaluation, rule.metric, candidate), values, rule, estimator=estimator), best


def read_predictions(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the answers so far, as they stand in the file."""
    return _read_predictions(evaluation.job.folder, _stamp(evaluation.job.folder / PREDICTIONS))


@lru_cache(maxsize=8)
def _read_predictions(folder: Path, stamp: Stamp) -> list[dict[str, Any]]:
    del stamp  # part of the cache's key only
    return list(read_answers(folder).values())


def _stamp(path: Path) -> Stamp:
    state = path.stat() if path.exists() else None
    return (state.st_mtime_ns, state.st_size) if state else (0, 0)


def answer_figures(evaluation: Evaluation) -> dict[str, Answers]:
    """Return the answers in figures, by variant."""
    by_variant: dict[str, list[dict[str, Any]]] = {key: [] for key in evaluation.variants}
    for line in read_predictions(evaluation):
        by_variant.setdefault(line["variant"], []).append(line)
    return {
        key: Answers(
            len(lines), sum(line["tokens"] for line in lines) / len(lines) if lines else None,
            sum(line["finish"] == "length" for line in lines), sum(not line["text"] for line in lines),
        )
        for key, lines in by_variant.items()
    }  # fmt: skip


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Return all figures as plain values: of each variant, of the differences to the baseline, and what was trained on."""
    scores, request = read_scores(evaluation), evaluation.job.request
    by_metric = {metric: {figure.variant: figure for figure in figures(evaluation, metric)} for metric in measured(evaluation)}
    answers, names = answer_figures(evaluation), plain_names(evaluation.variants.values())
    variants = [
        {
            "variant": key, "name": names[key], **_likelihood(scores, key), "answers": dataclasses.asdict(answers[key]),
            "metrics": {metric: _as_record(found[key]) for metric, found in by_metric.items()},
        }
        for key in evaluation.variants
    ]  # fmt: skip
    compared = {
        metric: {key: dataclasses.asdict(each) for key, each in differences(evaluation, metric, evaluation.baseline).items()}
        for metric in by_metric
    }
    return {
        "id": evaluation.id, "name": evaluation.name, "status": evaluation.job.status, "data": request["data"], "split": request["split"],
        "rows": len(scores["rows"]), "baseline": evaluation.baseline, "variants": variants, "differences": compared,
        "contamination": scores["contamination"],
    }  # fmt: skip


def _likelihood(scores: Mapping[str, Any], variant: str) -> dict[str, Any]:
    record = scores["likelihood"].get(variant, {})
    return {name: record[name] for name in (*LIKELIHOOD, "tokens") if name in record}


def _as_record(figure: Figure) -> dict[str, Any]:
    return dataclasses.asdict(figure.interval) | {
        "whole": figure.whole, "not_applicable": figure.not_applicable, "failed": figure.failed,
        "problem": figure.problem.as_record() if figure.problem else None,
    }  # fmt: skip
