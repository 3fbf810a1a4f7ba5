"""What an answer is worth, by name: each metric takes a prediction and its row. Knows rows and texts, no models and no sets of rows.

Every figure is in 0..1, larger is better; None where the row has nothing to compare with. A column may hold several right answers: the
nearest one counts. What stands in <think> is no part of an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tunesmith.data.agreement import choice_match, exact_match, numeric_match, word_f1
from tunesmith.data.answer_forms import check_pattern, has_pattern, json_form
from tunesmith.data.answers import PLACES, final_answer, mentions, reference_answer
from tunesmith.data.formats import row_answer
from tunesmith.errors import UserError
from tunesmith.evaluation.text_overlap import BLEU_TOKENS, corpus_bleu, corpus_chrf, rouge_l, sentence_bleu, sentence_chrf
from tunesmith.settings.fields import setting
from tunesmith.settings.files import from_mapping

ANSWER = "answer"
Row = Mapping[str, Any]


class Metric(Protocol):
    """A metric; its fields are its settings."""

    def score(self, prediction: str, row: Row) -> float | None:
        """Return what a prediction is worth, 0..1; None when the row has nothing to compare with."""


@runtime_checkable
class SetMetric(Protocol):
    """A metric with a figure of a whole set that is not the mean of its rows'."""

    def score_all(self, predictions: Sequence[str], rows: Sequence[Row]) -> float:
        """Return the figure of N rows that each have something to compare with, 0..1."""


def _column() -> Any:
    return setting(ANSWER, label="Column", help="The row's column with the right answer, or with several; the nearest one counts.")


def _place(default: str) -> Any:
    return setting(
        default, choices=PLACES, label="Where the answer stands",
        help="auto: in an <answer> tag, else in \\boxed{}, else behind ####, else the last line. whole: the whole text.",
    )  # fmt: skip


def right_answers(row: Row, column: str) -> list[Any]:
    """Return the row's right answers, empty ones left out; a row without the column `answer` gives the last answer it teaches."""
    value = row.get(column)
    if value is None and column == ANSWER:
        value = row_answer(row)
    values = value if isinstance(value, list | tuple) else [value]
    return [each for each in values if reference_answer(each) is not None]


def _texts(row: Row, column: str) -> list[str]:
    return [str(answer).strip() for answer in right_answers(row, column)]


def _best(scores: Iterable[float | None]) -> float | None:
    return max((score for score in scores if score is not None), default=None)


def _answer(prediction: str) -> str:
    return final_answer(prediction, "whole") or ""


@dataclass(frozen=True)
class SameAnswer:
    """1 when the final answer is the row's, letters and spaces aside."""

    place: str = _place("auto")
    column: str = _column()

    def score(self, prediction: str, row: Row) -> float | None:
        """Return 1 or 0, None for a row without an answer."""
        return _best(exact_match(prediction, answer, self.place) for answer in right_answers(row, self.column))


@dataclass(frozen=True)
class SameNumber:
    """1 when the last number of the final answer is the row's number."""

    place: str = _place("auto")
    tolerance: float = setting(
        0.0, minimum=0.0, maximum=1.0, label="Tolerance",
        help="How far the number may be off, as a share of the right one (0.01: one hundredth). 0: exactly equal.",
    )  # fmt: skip
    column: str = _column()

    def score(self, prediction: str, row: Row) -> float | None:
        """Return 1 or 0, None for a row without a number."""
        return _best(numeric_match(prediction, answer, self.place, self.tolerance) for answer in right_answers(row, self.column))


@dataclass(frozen=True)
class SameChoice:
    """1 when the chosen letter is the row's letter."""

    column: str = _column()

    def score(self, prediction: str, row: Row) -> float | None:
        """Return 1 or 0, None for a row without a letter."""
        return _best(choice_match(prediction, answer) for answer in right_answers(row, self.column))


@dataclass(frozen=True)
class WordF1:
    """How many words are shared with the row's answer (SQuAD's F1, articles not left out); characters where words are not spaced."""

    place: str = _place("whole")
    column: str = _column()

    def score(self, prediction: str, row: Row) -> float | None:
        """Return a share, None for a row without words to compare with."""
        return _best(word_f1(prediction, answer, self.place) for answer in right_answers(row, self.column))


@dataclass(frozen=True)
class RougeL:
    """How much of the row's answer comes in its order (ROUGE-L); characters where words are not spaced."""

    column: str = _column()

    def score(self, prediction: str, row: Row) -> float | None:
        """Return a share, None for a row without words to compare with."""
        return _best(rouge_l(_answer(prediction), text) for text in _texts(row, self.column))


@dataclass(frozen=True)
class Bleu:
    """BLEU by sacrebleu: shared pieces of 1 to 4 words, for translations. A row's own figure is coarse; the set's is what papers give."""

    tokens: str = setting(
        "auto", choices=BLEU_TOKENS, label="Pieces",
        help="How text is cut, by sacrebleu's names. Automatic: characters (char) for Japanese and Chinese, else 13a.",
    )  # fmt: skip
    column: str = _column()

    def score(self, prediction: str, row: Row) -> float | None:
        """Return the row's figure, None for a row without an answer."""
        references = _texts(row, self.column)
        return sentence_bleu(_answer(prediction), references, self.tokens) if references else None

    def score_all(self, predictions: Sequence[str], rows: Sequence[Row]) -> float:
        """Return the set's figure."""
        return corpus_bleu([_answer(p) for p in predictions], [_texts(row, self.column) for row in rows], self.tokens)


@dataclass(frozen=True)
class Chrf:
    """chrF by sacrebleu: shared pieces of 1 to 6 characters, for translations into any script."""

    column: str = _column()

    def score(self, prediction: str, row: Row) -> float | None:
        """Return the row's figure, None for a row without an answer."""
        references = _texts(row, self.column)
        return sentence_chrf(_answer(prediction), references) if references else None

    def score_all(self, predictions: Sequence[str], rows: Sequence[Row]) -> float:
        """Return the set's figure."""
        return corpus_chrf([_answer(p) for p in predictions], [_texts(row, self.column) for row in rows])


@dataclass(frozen=True)
class Contains:
    """1 when the row's answer occurs somewhere, or the share of the wished words that do."""

    words: tuple[str, ...] = setting(
        tuple, label="Wished words", help="One per line, wished for in every answer. Empty: what stands in the row's column."
    )
    column: str = _column()

    def score(self, prediction: str, row: Row) -> float | None:
        """Return a share, None for a row without an answer when no words are wished for."""
        text = _answer(prediction)
        words = [str(word) for word in self.words if str(word).strip()]
        if words:
            return sum(mentions(text, word) for word in words) / len(words)
        return _best(float(mentions(text, reference_answer(answer) or "")) for answer in right_answers(row, self.column))


@dataclass(frozen=True)
class PatternFound:
    """1 when a regular expression is found."""

    pattern: str = setting("", label="Pattern", help="A regular expression (Python's). Write ^…$ to compare all of the answer.")
    place: str = _place("whole")

    def score(self, prediction: str, row: Row) -> float | None:
        """Return 1 or 0. Raises UserError `metric_option_empty`, `pattern_wrong`, `pattern_slow`."""
        del row
        if not self.pattern:
            raise UserError("metric_option_empty", option="pattern")
        check_pattern(self.pattern)  # a wrong one is told even when there is nothing to search
        found = final_answer(prediction, self.place)
        return float(found is not None and has_pattern(self.pattern, found))


@dataclass(frozen=True)
class ValidJson:
    """1 when the answer is JSON that fits a schema."""

    schema: str = setting(
        '{"type": "object"}', kind="text", label="JSON schema",
        help="A JSON schema (draft 2020-12) as text; {} asks for JSON of any shape. References to other files are not followed.",
    )  # fmt: skip

    def score(self, prediction: str, row: Row) -> float | None:
        """Return 1 or 0. Raises UserError `schema_wrong`, `pattern_slow`."""
        del row
        return float(json_form(prediction, self.schema) == "fits")


METRICS: Mapping[str, type[Metric]] = {
    "exact_match": SameAnswer,
    "numeric": SameNumber,
    "multiple_choice": SameChoice,
    "f1": WordF1,
    "rouge_l": RougeL,
    "bleu": Bleu,
    "chrf": Chrf,
    "contains": Contains,
    "pattern": PatternFound,
    "json": ValidJson,
}


def build_metric(name: str, options: Mapping[str, Any] | None = None) -> Metric:
    """Return a metric with its settings. Raises UserError `metric_unknown`, `setting_…`."""
    if name not in METRICS:
        raise UserError("metric_unknown", metric=name, known=", ".join(METRICS))
    return from_mapping(METRICS[name], options or {})
