"""Loss and perplexity as metrics over rows: the mean loss of all tokens, and its exponential. Knows figures of rows, no models."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tunesmith.evaluation.intervals import Estimator

LOSS, PERPLEXITY = "loss", "perplexity"
LIKELIHOOD = (LOSS, PERPLEXITY)  # both are of a row's mean loss; smaller is better


def likelihood_estimator(metric: str, tokens: npt.ArrayLike) -> Estimator:
    """Return how rows' mean losses (nats per token) make one figure, `tokens` [N] being how many each row has."""
    return Estimator(np.asarray(tokens, np.float64), exponential=metric == PERPLEXITY, smaller_is_better=True)
