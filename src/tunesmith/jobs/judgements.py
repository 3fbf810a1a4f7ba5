"""The folder of a judgement: the answers that are judged, and a line of `verdicts.jsonl` for each question. Knows no judge and no model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.evaluation.judging import Case
from tunesmith.jobs.answer_files import question_text, read_answers, read_questions
from tunesmith.store.files import LineTail

VERDICTS = "verdicts.jsonl"


def read_verdicts(folder: Path) -> list[dict[str, Any]]:
    """Return the lines so far: a question that got no answer and was asked again has several."""
    return list(LineTail(folder / VERDICTS).read_new())


def read_cases(folder: Path, most: int) -> Iterator[Case]:
    """Yield the first rows with the answers so far."""
    answers: dict[int, dict[str, str]] = {}
    for (row, variant), line in read_answers(folder).items():
        answers.setdefault(row, {})[variant] = line["text"]
    for line in read_questions(folder)[:most]:
        yield Case(line["row"], question_text(line["prompt"]), line["reference"], answers.get(line["row"], {}))
