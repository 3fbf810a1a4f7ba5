"""Which evaluation prompts a run was trained on: word for word, or nearly so. Knows rows, no files and no models.

What rows ask is compared, not their answers. A prompt inside of a longer training text is not found; long prompts made from one form
with other numbers in it count as near, so the similarity and both places are told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tunesmith.data.answers import normalize_answer
from tunesmith.data.formats import as_prompt
from tunesmith.data.near_duplicates import BLOCK, NearTexts
from tunesmith.system.progress import silent

NEAR_THRESHOLD = 0.85  # as in the checks of a data set
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Match:
    """An evaluation prompt and the training row most like it, both counted from 0; a similarity of 1 with `exact` is the same text."""

    prompt: int
    training_row: int
    similarity: float
    exact: bool


@dataclass(frozen=True)
class Contamination:
    """Of `prompts` evaluation prompts, those that were among `training_rows`."""

    prompts: int
    training_rows: int
    matches: list[Match]

    @property
    def exact(self) -> int:
        """The prompts that were trained on word for word."""
        return sum(match.exact for match in self.matches)

    @property
    def share(self) -> float | None:
        """The share of the prompts that were trained on, exactly or nearly; None without prompts."""
        return len(self.matches) / self.prompts if self.prompts else None


def find_contamination(
    prompts: Sequence[Row], training: Iterable[Row], threshold: float = NEAR_THRESHOLD, told: Callable[[int], object] = silent
) -> Contamination:
    """Return which prompts the training rows ask too, the same after normalization or with a Jaccard similarity from `threshold` on.

    `told` is given the number of training rows read so far, after each block of them.
    """
    asked = [asked_text(row) for row in prompts]
    near = NearTexts(asked, threshold)
    found: dict[int, Match] = {}
    rows, count = iter(training), 0
    while block := list(islice(rows, BLOCK)):
        texts = [(count + place, text) for place, row in enumerate(block) for text in trained_texts(row)]
        for (row, text), alike in zip(texts, near.find([text for _, text in texts]), strict=True):
            for number, similarity in alike:
                match = Match(number, row, similarity, asked[number] == text)
                found[number] = max(found.get(number, match), match, key=lambda m: (m.exact, m.similarity, -m.training_row))
        count += len(block)
        told(count)
    return Contamination(len(asked), count, [found[number] for number in sorted(found)])


def asked_text(row: Row) -> str:
    """Return what a row asks, ready for comparison: the user's turns up to the last answer; of plain text, all of it."""
    return normalize_answer("\n".join(_user_turns(row)) or str(row.get("text") or ""))


def trained_texts(row: Row) -> list[str]:
    """Return what a training row asks: all of it, and each turn of a longer conversation; nothing when it asks nothing."""
    turns = _user_turns(row)
    single = [normalize_answer(turn) for turn in turns] if len(turns) > 1 else []
    return [text for text in dict.fromkeys([asked_text(row), *single]) if text]


def _user_turns(row: Row) -> list[str]:
    return [str(turn["content"]) for turn in as_prompt(row) if turn.get("role") == "user"]
