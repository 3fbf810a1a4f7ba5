"""What variants were asked and what they answered, as the folder of an evaluation or a judgement holds it. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.store.files import LineTail

PREDICTIONS, ROWS = "predictions.jsonl", "rows.jsonl"


def read_questions(folder: Path) -> list[dict[str, Any]]:
    """Return `{row, prompt, reference}` of the rows that are asked; none before the first answer."""
    return list(LineTail(folder / ROWS).read_new())


def read_answers(folder: Path) -> dict[tuple[int, str], dict[str, Any]]:
    """Return the lines of the predictions by row and variant."""
    return {(line["row"], line["variant"]): line for line in LineTail(folder / PREDICTIONS).read_new()}


def question_text(turns: Sequence[Mapping[str, Any]]) -> str:
    """Return what a row asks as text; of a conversation or with a system prompt every turn, with who said it."""
    if len(turns) == 1:
        return str(turns[0]["content"])
    return "\n".join(f"{turn.get('role', '')}: {turn.get('content', '')}" for turn in turns)
