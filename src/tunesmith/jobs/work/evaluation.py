"""The job that asks variants the rows of a data set and scores their answers. Its folder holds what it found."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tunesmith.data.formats import Row, as_prompt, row_answer
from tunesmith.data.row_files import read_splits
from tunesmith.data.templates import Encoded
from tunesmith.errors import UserError
from tunesmith.evaluation.contamination import find_contamination
from tunesmith.evaluation.metrics import build_metric
from tunesmith.evaluation.perplexity import PERPLEXITY, likelihood_estimator
from tunesmith.evaluation.set_scores import SetScores, score_set
from tunesmith.inference.likelihood import encode_rows, mean_loss
from tunesmith.inference.prediction import Predictor
from tunesmith.jobs.answer_files import read_answers
from tunesmith.jobs.job_kinds import Request
from tunesmith.jobs.work.answering import Record, answer, group_by_base, open_group, read_asked_rows, require_same
from tunesmith.models.loading import LoadedModel
from tunesmith.store.files import copy_into, read_json, write_json
from tunesmith.system.progress import Progress, Report
from tunesmith.training.rewards.scoring import RewardSet
from tunesmith.training.rewards.spec import Completion, RewardSpec

SCORES, LIKELIHOOD, REWARDS = "scores.json", "likelihood.json", "rewards"
SCORED_AT_ONCE = 64  # a custom function has 20 seconds for one call
LOSS_SHARE = 0.1  # reading a row takes about a tenth of answering it
KEPT_MATCHES = 200
Answers = Mapping[tuple[int, str], Mapping[str, Any]]


def evaluate(request: Request, report: Report) -> dict[str, Any]:
    """Ask every variant every row, then score; goes on where it was ended.

    Raises UserError `data_…`, `evaluation_…`, `model_…`, `adapter_…`, `metric_…`, `reward_…`, `disk_full`.
    """
    folder = Path(request["folder"])
    report("reading", 0.0)
    rows = read_asked_rows(request)
    asking = [row for row in rows if as_prompt(row.value)]
    if not asking and not request["likelihood"]:
        raise UserError("evaluation_asks_nothing", data=request["data"], split=request["split"])
    require_same(request, rows)
    _keep_reward_files(request, folder)
    _ask(request, rows, len(asking), report)
    answers = read_answers(folder)
    contamination = _find_contamination(request, rows, report)
    metrics = {}
    for number, metric in enumerate(request["metrics"]):
        tell = partial(_tell_part, partial(report, "scoring"), number, len(request["metrics"]))
        metrics[metric["name"]] = _score(metric, request["variants"], asking, answers, folder, tell)
    found = {
        "v": 1, "rows": [row.line for row in asking], "without_question": len(rows) - len(asking), "metrics": metrics,
        "likelihood": read_json(folder / LIKELIHOOD) if request["likelihood"] else {}, "contamination": contamination,
    }  # fmt: skip
    write_json(folder / SCORES, found)
    return {"rows": len(asking), "answers": len(answers)}


def _tell_part(tell: Progress, number: int, parts: int, share: float) -> None:
    """Tell the share done of a whole when so much of one of its equal parts is done."""
    tell((number + share) / parts)


class _Work:
    """Tells how much of the answers and losses is done, of what was missing at the start."""

    def __init__(self, missing: float, report: Report) -> None:
        self._missing, self._done, self._report = missing, 0.0, report

    def __call__(self, more: float) -> None:
        self._done += more
        self._report("predicting", min(1.0, self._done / self._missing) if self._missing else 1.0)


def _ask(request: Request, rows: Sequence[Row], asking: int, report: Report) -> None:
    """Answer and measure what is missing, one base after the other; one with nothing left to do is not loaded."""
    folder, known = Path(request["folder"]), read_answers(Path(request["folder"]))
    losses = read_json(folder / LIKELIHOOD) if (folder / LIKELIHOOD).exists() else {}
    each_loss = LOSS_SHARE * len(rows) if request["likelihood"] else 0.0
    missing = {
        variant["key"]: asking - sum(key == variant["key"] for _, key in known) + each_loss * (variant["key"] not in losses)
        for variant in request["variants"]
    }
    work = _Work(sum(missing.values()), report)
    work(0)
    for group in group_by_base(request["variants"]):
        if any(missing[variant["key"]] for variant in group):
            _ask_group(request, rows, group, losses, work)


def _ask_group(request: Request, rows: Sequence[Row], group: Sequence[Record], losses: dict[str, Any], work: _Work) -> None:
    base, predictors = open_group(group, request["system"])
    answer(request, rows, base, predictors, work)
    for predictor in predictors if request["likelihood"] else ():
        if predictor.name not in losses:
            losses[predictor.name] = _measure(request, rows, base, predictor, work)
            write_json(Path(request["folder"]) / LIKELIHOOD, losses)


def _measure(request: Request, rows: Sequence[Row], base: LoadedModel, predictor: Predictor, work: _Work) -> dict[str, Any]:
    """Return loss (nats per token), perplexity and tokens, of all and by row; nothing when the rows hold no answers to foretell.

    `targets` tells which tokens were foretold: only losses of the same ones can be compared.
    """
    predictor.activate()
    encoded = encode_rows(rows, base.tokenizer, request["longest_tokens"], predictor.template, predictor.system)
    if not encoded:
        return {}
    found = mean_loss(base.model, [each for _, each in encoded], lambda _: work(0))
    work(LOSS_SHARE * len(rows))
    values = np.array(found.row_losses)
    return {
        "loss": found.loss, "perplexity": likelihood_estimator(PERPLEXITY, found.row_tokens).figure(values), "tokens": found.tokens,
        "rows": [row.line for row, _ in encoded], "values": found.row_losses, "row_tokens": found.row_tokens,
        "targets": _hash_targets([each for _, each in encoded]),
    }  # fmt: skip


def _hash_targets(rows: Sequence[Encoded]) -> str:
    learned = [[token for token, counts in zip(row.ids[1:], row.supervised[1:], strict=True) if counts] for row in rows]
    return hashlib.sha256(orjson.dumps(learned)).hexdigest()


def _find_contamination(request: Request, rows: Sequence[Row], report: Report) -> list[dict[str, Any]]:
    """Return, for each data set that was trained on, which rows were in it; one that cannot be read any more carries its problem."""
    found = []
    for number, training in enumerate(request["training"]):
        tell = partial(_tell_part, partial(report, "checking"), number, len(request["training"]))
        record = {"data": training["data"], "variants": training["variants"]}
        try:
            trained = read_splits(Path(training["data_path"]), ("train",))["train"].rows
        except (UserError, KeyError, OSError) as error:
            told = error if isinstance(error, UserError) else UserError("dataset_without_split", dataset=training["data"], split="train")
            found.append(record | {"problem": told.as_record()})
        else:
            found.append(record | _match(rows, trained, tell))
    return found


def _match(rows: Sequence[Row], trained: Sequence[Row], tell: Progress) -> dict[str, Any]:
    """Return how many rows were trained on, and the first matches with the lines in both files."""
    tell(0.0)
    values = [row.value for row in rows]
    found = find_contamination(values, (row.value for row in trained), told=lambda count: tell(count / len(trained)))
    matches = [
        asdict(match) | {"row": rows[match.prompt].line, "training_line": trained[match.training_row].line} for match in found.matches
    ]
    return {
        "prompts": found.prompts, "training_rows": found.training_rows, "exact": found.exact, "near": len(matches) - found.exact,
        "matches": matches[:KEPT_MATCHES],
    }  # fmt: skip


def _score(
    metric: Mapping[str, Any], variants: Sequence[Record], rows: Sequence[Row], answers: Answers, folder: Path, tell: Progress
) -> dict[str, Any]:  # fmt: skip
    """Return a metric's figures by variant, in the order of the rows."""
    found = {}
    for number, variant in enumerate(variants):
        tell(number / len(variants))
        given = [answers.get((row.line, variant["key"])) for row in rows]
        if ":" in metric["name"]:
            scores = _score_by_file(metric["name"], given, rows, folder / REWARDS, partial(_tell_part, tell, number, len(variants)))
        else:
            texts = [each["text"] if each else None for each in given]
            scores = score_set(build_metric(metric["name"], metric["options"]), texts, [row.value for row in rows])
        found[variant["key"]] = {
            "values": [None if math.isnan(value) else value for value in scores.values.tolist()],
            "not_applicable": scores.not_applicable, "failed": scores.failed, "whole": scores.whole,
            "problem": scores.problem.as_record() if scores.problem else None,
        }  # fmt: skip
    return found


def _score_by_file(
    function: str, given: Sequence[Mapping[str, Any] | None], rows: Sequence[Row], folder: Path, tell: Progress
) -> SetScores:  # fmt: skip
    """Return the figures of a custom reward function (`file.py:function`), called as in training; a call that fails is counted."""
    values, failed, problem = np.full(len(rows), np.nan), 0, None
    there = [place for place, each in enumerate(given) if each]
    rewards = RewardSet([RewardSpec(function)], folder, skip_failing=True)
    try:
        for begin in range(0, len(there), SCORED_AT_ONCE):
            tell(begin / len(there))
            places = there[begin : begin + SCORED_AT_ONCE]
            asked = [str(as_prompt(rows[place].value)[-1]["content"]) for place in places]
            completions = [_as_completion(given[place] or {}) for place in places]
            columns = [_with_answer(rows[place].value) for place in places]
            scores = rewards.score(asked, completions, columns)
            values[places] = scores.by_function[rewards.names[0]]
            for error in scores.skipped.values():
                failed, problem = failed + len(places), problem or error
    finally:
        rewards.close()
    missing = len(rows) - len(there)
    nothing_to_say = int(np.isnan(values).sum()) - failed - missing
    return SetScores(values, nothing_to_say, failed + missing, None, problem)


def _as_completion(line: Mapping[str, Any]) -> Completion:
    return Completion(line["text"], line["tokens"], line["finish"] == "length")


def _with_answer(value: Mapping[str, Any]) -> dict[str, Any]:
    return {**value, "answer": known} if (known := row_answer(value)) else dict(value)


def _keep_reward_files(request: Request, folder: Path) -> None:
    """Keep the custom functions as they are now: a file that changes later changes no evaluation."""
    for name in dict.fromkeys(metric["name"].rpartition(":")[0] for metric in request["metrics"] if ":" in metric["name"]):
        if not (folder / REWARDS / name).exists():
            copy_into(Path(request["rewards_folder"]) / name, folder / REWARDS / name)
