"""An evaluation row by row: what was asked and answered with which figures, filters, files to take away. Knows no intervals."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from tunesmith.evaluation.intervals import Estimator
from tunesmith.evaluation.perplexity import LIKELIHOOD, PERPLEXITY
from tunesmith.jobs.answer_files import question_text, read_questions
from tunesmith.services.evaluation_results import measured, read_predictions, read_scores
from tunesmith.services.evaluations import Evaluation
from tunesmith.services.variants import plain_names

OUTCOMES = ("all", "wins", "losses", "ties")
FAILED_BELOW = 0.5
_OF_ONE_ROW = Estimator(exponential=True)


@dataclass(frozen=True)
class AskedRow:
    """One row: what was asked, what the row says, each variant's answer, and the figures by metric and variant."""

    line: int
    prompt: str
    reference: str
    answers: dict[str, dict[str, Any]]
    figures: dict[str, dict[str, float | None]]


def asked_rows(evaluation: Evaluation) -> list[AskedRow]:
    """Return the rows in their order, with everything that is known of each."""
    answers: dict[int, dict[str, dict[str, Any]]] = {}
    for line in read_predictions(evaluation):
        answers.setdefault(line["row"], {})[line["variant"]] = line
    by_line = _figures_by_line(evaluation)
    return [
        AskedRow(
            row["row"], question_text(row["prompt"]), str(row["reference"] or ""), answers.get(row["row"], {}), by_line.get(row["row"], {})
        )
        for row in read_questions(evaluation.job.folder)
    ]  # fmt: skip


def _figures_by_line(evaluation: Evaluation) -> dict[int, dict[str, dict[str, float | None]]]:
    """Return the rows' figures by line, metric and variant; a row's perplexity is exp of its mean loss."""
    scores = read_scores(evaluation)
    found: dict[int, dict[str, dict[str, float | None]]] = {}
    for metric in measured(evaluation):
        by_variant = scores["likelihood"] if metric in LIKELIHOOD else scores["metrics"][metric]
        for key, record in by_variant.items():
            for line, value in zip(record.get("rows", scores["rows"]), record.get("values", ()), strict=False):
                shown = _OF_ONE_ROW.figure(np.array([value])) if metric == PERPLEXITY and value is not None else value
                found.setdefault(line, {}).setdefault(metric, {})[key] = shown
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
    gain = theirs - ours if metric in LIKELIHOOD else ours - theirs
    return "wins" if gain > 0 else "losses" if gain < 0 else "ties"


def _text_of(row: AskedRow) -> str:
    return "\n".join([row.prompt, row.reference, *(line["text"] for line in row.answers.values())]).casefold()


def _failed(row: AskedRow, variant: str, metric: str) -> bool:
    answer = row.answers.get(variant)
    if answer is None or answer["finish"] == "length" or not answer["text"]:
        return True
    if metric not in row.figures:
        return False
    value = row.figures[metric].get(variant)
    return value is None or (metric not in LIKELIHOOD and value < FAILED_BELOW)


def as_jsonl(evaluation: Evaluation) -> bytes:
    """Return one line for each answer: row, prompt, reference, variant, its name, text, tokens, finish, figures."""
    return b"".join(orjson.dumps(record) + b"\n" for record in _records(evaluation))


def as_csv(evaluation: Evaluation) -> bytes:
    """Return the same as a table, with a byte order mark so that spreadsheets read Japanese."""
    records = [
        {name: value for name, value in {**record, **record["figures"]}.items() if name != "figures"} for record in _records(evaluation)
    ]
    text = io.StringIO()
    columns = ["row", "prompt", "reference", "variant", "name", "text", "tokens", "finish", *(measured(evaluation) or evaluation.metrics)]
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode("utf-8-sig")


def _records(evaluation: Evaluation) -> list[dict[str, Any]]:
    names = plain_names(evaluation.variants.values())
    return [
        {
            "row": row.line, "prompt": row.prompt, "reference": row.reference, "variant": key, "name": names[key],
            "text": line["text"], "tokens": line["tokens"], "finish": line["finish"],
            "figures": {metric: by_variant.get(key) for metric, by_variant in row.figures.items()},
        }
        for row in asked_rows(evaluation)
        for key, line in row.answers.items()
        if key in names
    ]  # fmt: skip
