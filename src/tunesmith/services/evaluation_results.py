"""What an evaluation found: figures with intervals, differences, the gate, its rows, files to take away. Knows no models."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tunesmith.errors import UserError
from tunesmith.evaluation.gate import GateRule, GateVerdict, ask_gate
from tunesmith.evaluation.intervals import Floats, IntervalRules, MeanInterval, PairedComparison, compare_paired, mean_interval
from tunesmith.jobs.answer_files import PREDICTIONS, question_text, read_answers, read_questions
from tunesmith.jobs.job import error_of
from tunesmith.services.context import Services
from tunesmith.services.evaluations import Evaluation, list_evaluations
from tunesmith.store.files import read_json

OUTCOMES = ("all", "wins", "losses", "ties")
FAILED_BELOW = 0.5
_RULES = IntervalRules()
Stamp = tuple[int, int]  # when a file was changed, and its size


@dataclass(frozen=True)
class Figure:
    """A variant's figure of a metric: mean and interval over rows, the set's own where there is one, what was left out and why."""

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


@dataclass(frozen=True)
class AskedRow:
    """One row: what was asked, what the row says, each variant's answer, and the figures by metric and variant."""

    line: int
    prompt: str
    reference: str
    answers: dict[str, dict[str, Any]]
    figures: dict[str, dict[str, float | None]]


def read_scores(evaluation: Evaluation) -> dict[str, Any]:
    """Return what the job wrote; empty while it has not scored."""
    path = evaluation.job.folder / "scores.json"
    return _read(path, _stamp(path)) if path.exists() else {}


@lru_cache(maxsize=32)
def _read(path: Path, stamp: Stamp) -> dict[str, Any]:
    del stamp  # part of the cache's key only
    found: dict[str, Any] = read_json(path)
    return found


def values_of(evaluation: Evaluation, metric: str, variant: str) -> Floats:
    """Return a variant's figures of a metric [N], NaN where there is none. Raises UserError `evaluation_metric_missing`."""
    try:
        values = read_scores(evaluation)["metrics"][metric][variant]["values"]
    except KeyError as error:
        raise UserError("evaluation_metric_missing", metric=metric, name=evaluation.name) from error
    return np.array([np.nan if value is None else value for value in values], np.float64)


def figures(evaluation: Evaluation, metric: str, rules: IntervalRules = _RULES) -> list[Figure]:
    """Return every variant's figure of a metric. Raises UserError `evaluation_metric_missing`."""
    found = []
    for variant in evaluation.variants:
        interval = _mean_interval(values_of(evaluation, metric, variant).tobytes(), rules)
        record = read_scores(evaluation)["metrics"][metric][variant]
        problem = error_of({"error": record["problem"]})
        found.append(Figure(variant, interval, record["whole"], record["not_applicable"], record["failed"], problem))
    return found


def differences(evaluation: Evaluation, metric: str, baseline: str, rules: IntervalRules = _RULES) -> dict[str, PairedComparison]:
    """Return, for each other variant, its comparison with the baseline row by row. Raises UserError `evaluation_metric_missing`."""
    right = values_of(evaluation, metric, baseline).tobytes()
    others = [variant for variant in evaluation.variants if variant != baseline]
    return {variant: _compare(values_of(evaluation, metric, variant).tobytes(), right, rules) for variant in others}


@lru_cache(maxsize=256)
def _mean_interval(values: bytes, rules: IntervalRules) -> MeanInterval:
    return mean_interval(np.frombuffer(values), rules)


@lru_cache(maxsize=256)
def _compare(left: bytes, right: bytes, rules: IntervalRules) -> PairedComparison:
    return compare_paired(np.frombuffer(left), np.frombuffer(right), rules)


def best_so_far(s: Services, evaluation: Evaluation, candidate: str, metric: str, against: str = "") -> tuple[Best, Floats]:
    """Return the best variant of the earlier evaluations of the same rows by the same metric, with its figures [N].

    Without any, and when `against` names a variant of this evaluation, that one or the baseline. The candidate itself does not count.
    Raises UserError `evaluation_metric_missing`, `gate_same`.
    """
    found: list[tuple[float, Best, Floats]] = []
    for earlier in _earlier(s, evaluation, metric) if not against else ():
        for key, variant in earlier.variants.items():
            values = values_of(earlier, metric, key)
            if key != candidate and np.isfinite(values).any():
                best = Best(earlier.id, earlier.name, variant, earlier=True)
                found.append((float(np.nanmean(values)), best, values))
    if found:
        _, best, values = max(found, key=lambda each: each[0])
        return best, values
    chosen = against or evaluation.baseline
    if chosen == candidate or chosen not in evaluation.variants:
        raise UserError("gate_same", name=evaluation.variants[candidate]["name"])
    return (
        Best(evaluation.id, evaluation.name, evaluation.variants[chosen], earlier=False),
        values_of(evaluation, metric, chosen),
    )


def _earlier(s: Services, evaluation: Evaluation, metric: str) -> list[Evaluation]:
    rows = _rows_hash(evaluation)
    return [
        each
        for each in list_evaluations(s)
        if each.job.status == "completed"
        and each.job.created_at < evaluation.job.created_at
        and each.metrics.get(metric) == evaluation.metrics.get(metric)
        and metric in each.metrics
        and _rows_hash(each) == rows
    ]


def _rows_hash(evaluation: Evaluation) -> str:
    return str(read_json(evaluation.job.folder / "fingerprint.json")["rows"])


def ask(s: Services, evaluation: Evaluation, candidate: str, rule: GateRule, against: str = "") -> tuple[GateVerdict, Best]:
    """Return whether a variant is better than the best so far, and what that is; see `best_so_far`.

    Raises UserError `evaluation_metric_missing`, `gate_same`.
    """
    best, values = best_so_far(s, evaluation, candidate, rule.metric, against)
    return ask_gate(values_of(evaluation, rule.metric, candidate), values, rule), best


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


def asked_rows(evaluation: Evaluation) -> list[AskedRow]:
    """Return the rows in their order, with everything that is known of each."""
    answers: dict[int, dict[str, dict[str, Any]]] = {}
    for line in read_predictions(evaluation):
        answers.setdefault(line["row"], {})[line["variant"]] = line
    scores = read_scores(evaluation)
    places = {line: place for place, line in enumerate(scores.get("rows", ()))}
    found = []
    for row in read_questions(evaluation.job.folder):
        known: Mapping[str, Any] = scores.get("metrics", {}) if row["row"] in places else {}
        figures_here = {
            metric: {key: each["values"][places[row["row"]]] for key, each in by_variant.items()} for metric, by_variant in known.items()
        }
        found.append(
            AskedRow(row["row"], question_text(row["prompt"]), str(row["reference"] or ""), answers.get(row["row"], {}), figures_here)
        )  # fmt: skip
    return found


def choose_rows(
    rows: Sequence[AskedRow], left: str, right: str, metric: str = "", outcome: str = "all", search: str = "", failures: bool = False
) -> list[AskedRow]:
    """Return the rows where the left variant wins, loses or ties with the right one; that hold a text; where the left one failed.

    Failed: no figure, one below a half, an answer that was cut or is empty.
    """
    wanted = search.casefold()
    return [
        row
        for row in rows
        if (outcome == "all" or _outcome(row, left, right, metric) == outcome)
        and (not wanted or wanted in _text_of(row))
        and (not failures or _failed(row, left, metric))
    ]


def _outcome(row: AskedRow, left: str, right: str, metric: str) -> str:
    figures_here = row.figures.get(metric, {})
    ours, theirs = figures_here.get(left), figures_here.get(right)
    if ours is None or theirs is None:
        return "none"
    return "wins" if ours > theirs else "losses" if ours < theirs else "ties"


def _text_of(row: AskedRow) -> str:
    return "\n".join([row.prompt, row.reference, *(line["text"] for line in row.answers.values())]).casefold()


def _failed(row: AskedRow, variant: str, metric: str) -> bool:
    answer = row.answers.get(variant)
    if answer is None or answer["finish"] == "length" or not answer["text"]:
        return True
    if metric not in row.figures:
        return False
    value = row.figures[metric].get(variant)
    return value is None or value < FAILED_BELOW


def as_jsonl(evaluation: Evaluation) -> bytes:
    """Return one line for each answer: row, prompt, reference, variant, its name, text, tokens, finish, figures."""
    return b"".join(orjson.dumps(record) + b"\n" for record in _records(evaluation))


def as_csv(evaluation: Evaluation) -> bytes:
    """Return the same as a table, with a byte order mark so that spreadsheets read Japanese."""
    records = [
        {name: value for name, value in {**record, **record["figures"]}.items() if name != "figures"} for record in _records(evaluation)
    ]
    text = io.StringIO()
    columns = ["row", "prompt", "reference", "variant", "name", "text", "tokens", "finish", *evaluation.metrics]
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode("utf-8-sig")


def _records(evaluation: Evaluation) -> list[dict[str, Any]]:
    return [
        {
            "row": row.line, "prompt": row.prompt, "reference": row.reference, "variant": key, "name": evaluation.variants[key]["name"],
            "text": line["text"], "tokens": line["tokens"], "finish": line["finish"],
            "figures": {metric: by_variant.get(key) for metric, by_variant in row.figures.items()},
        }
        for row in asked_rows(evaluation)
        for key, line in row.answers.items()
        if key in evaluation.variants
    ]  # fmt: skip


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Return all figures as plain values: of each variant, of the differences to the baseline, and what was trained on."""
    scores, request = read_scores(evaluation), evaluation.job.request
    by_metric = {metric: {figure.variant: figure for figure in figures(evaluation, metric)} for metric in evaluation.metrics}
    answers = answer_figures(evaluation)
    variants = [
        {
            "variant": key, "name": variant["name"], **scores["likelihood"].get(key, {}), "answers": dataclasses.asdict(answers[key]),
            "metrics": {metric: _as_record(found[key]) for metric, found in by_metric.items()},
        }
        for key, variant in evaluation.variants.items()
    ]  # fmt: skip
    compared = {
        metric: {key: dataclasses.asdict(each) for key, each in differences(evaluation, metric, evaluation.baseline).items()}
        for metric in evaluation.metrics
    }
    return {
        "id": evaluation.id, "name": evaluation.name, "status": evaluation.job.status, "data": request["data"], "split": request["split"],
        "rows": len(scores["rows"]), "baseline": evaluation.baseline, "variants": variants, "differences": compared,
        "contamination": scores["contamination"],
    }  # fmt: skip


def _as_record(figure: Figure) -> dict[str, Any]:
    return dataclasses.asdict(figure.interval) | {
        "whole": figure.whole, "not_applicable": figure.not_applicable, "failed": figure.failed,
        "problem": figure.problem.as_record() if figure.problem else None,
    }  # fmt: skip
