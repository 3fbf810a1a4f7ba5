"""A metric over a set of rows: each row's figure, their mean, and what was left out of it. Knows no models and no intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tunesmith.errors import UserError
from tunesmith.evaluation.metrics import Metric, Row, SetMetric

Floats = npt.NDArray[np.float64]
_OF_ONE_ANSWER = {"pattern_slow"}  # the answer's fault; any other error is the settings'


@dataclass(frozen=True)
class SetScores:
    """Of N rows: `values` [N], NaN where there is none, because the row has nothing to compare with or the answer failed.

    `whole` is the figure of the set as a whole, of metrics that have one (BLEU, chrF); `problem` why the first answer failed.
    """

    values: Floats
    not_applicable: int
    failed: int
    whole: float | None
    problem: UserError | None

    @property
    def counted(self) -> int:
        """The rows with a figure."""
        return int(np.isfinite(self.values).sum())

    @property
    def mean(self) -> float | None:
        """The mean of the rows with a figure, None without any."""
        return float(np.nanmean(self.values)) if self.counted else None


def score_set(metric: Metric, predictions: Sequence[str | None], rows: Sequence[Row]) -> SetScores:
    """Return a metric's figures of N predictions; None stands for an answer that could not be made: it counts as failed, not as wrong.

    Raises UserError `metric_option_empty`, `pattern_wrong`, `schema_wrong`.
    """
    values, not_applicable, problem = np.full(len(rows), np.nan), 0, None
    for place, (prediction, row) in enumerate(zip(predictions, rows, strict=True)):
        try:
            score = metric.score(prediction or "", row)
        except UserError as error:
            if error.code not in _OF_ONE_ANSWER:
                raise
            problem = problem or error
            continue
        if score is None:
            not_applicable += 1
        elif prediction is not None:
            values[place] = score
    counted: list[int] = np.flatnonzero(np.isfinite(values)).tolist()
    whole = None
    if isinstance(metric, SetMetric) and counted:
        whole = metric.score_all([predictions[i] or "" for i in counted], [rows[i] for i in counted])
    return SetScores(values, not_applicable, len(rows) - not_applicable - len(counted), whole, problem)
