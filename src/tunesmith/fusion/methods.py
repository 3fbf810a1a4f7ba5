"""The table of fusions. A method is a row: a function of the products, or switches of the element-wise family. Knows no mlx.

Sources: docs/paper_index.md. Names are mergekit's where it has the method.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.errors import UserError
from tunesmith.fusion import coefficients as sums
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.deltas import Array, Delta, combine, gram, row_grams
from tunesmith.fusion.elementwise import fuse_values


@dataclass(frozen=True)
class Method:
    """One fusion; `exact` ones stay in factors. `most` is how many deltas it takes (0: any number); `by_row`: whether each output row
    may have coefficients of its own.
    """

    coefficients: Callable[[Array, Array], Array] | None = None
    most: int = 0
    by_row: bool = False
    sparsifier: str = ""
    elects_signs: bool = False
    normalizes: bool = False

    @property
    def exact(self) -> bool:
        """Whether the result is a sum of the deltas, which factors hold without loss."""
        return self.coefficients is not None


METHODS: Mapping[str, Method] = {
    "linear": Method(sums.weighted_mean),
    "task_arithmetic": Method(sums.weighted_sum),
    "slerp": Method(sums.slerp, most=2),
    "nuslerp": Method(sums.slerp, most=2, by_row=True),
    "karcher": Method(sums.karcher_mean),
    "model_stock": Method(sums.model_stock),
    "ties": Method(sparsifier="magnitude", elects_signs=True, normalizes=True),
    "dare_linear": Method(sparsifier="random"),
    "dare_ties": Method(sparsifier="random", elects_signs=True),
    "della_linear": Method(sparsifier="rank"),
    "della": Method(sparsifier="rank", elects_signs=True, normalizes=True),
    "breadcrumbs": Method(sparsifier="outliers"),
    "breadcrumbs_ties": Method(sparsifier="outliers", elects_signs=True),
    "magnitude_prune": Method(sparsifier="magnitude"),
}


def check_rules(rules: FusionRules, count: int) -> None:
    """Refuse rules that do not fit so many adapters. Raises UserError `fusion_…`."""
    method = METHODS[rules.method]
    if count < 2:
        raise UserError("fusion_needs_two")
    if method.most and count > method.most:
        raise UserError("fusion_too_many", method=rules.method, most=method.most, chosen=count)
    if len(rules.weights) != count:
        raise UserError("fusion_weights_count", weights=len(rules.weights), adapters=count)
    if not np.all(np.isfinite(rules.weights)):
        raise UserError("fusion_weights_not_finite")
    if rules.density == 1:
        return  # all is kept
    if method.sparsifier == "rank" and not rules.epsilon < rules.density <= 1 - rules.epsilon:
        raise UserError("fusion_epsilon_too_large", epsilon=rules.epsilon, density=rules.density)
    if method.sparsifier == "outliers" and rules.density + rules.gamma > 1:
        raise UserError("fusion_gamma_too_large", gamma=rules.gamma, density=rules.density)


def fuse_deltas(module: str, deltas: Sequence[Delta], weights: Sequence[float], rules: FusionRules) -> Delta:
    """Return one module's fused delta; `weights` are this module's, one per delta; zero deltas stand for adapters without this module.

    What is drawn by chance depends on the seed, the module's name and the adapter's place alone. Raises UserError `fusion_weights_cancel`.
    """
    method, wanted = METHODS[rules.method], np.asarray(weights, np.float64)
    if method.coefficients is None:
        seeds = [[rules.seed, zlib.crc32(module.encode()), place] for place in range(len(deltas))]
        normalize = method.normalizes if rules.normalize == "auto" else rules.normalize == "yes"
        return fuse_values(deltas, wanted, rules, method.sparsifier, method.elects_signs, normalize, seeds)
    products = row_grams(deltas) if method.by_row and rules.row_wise else gram(deltas)
    return combine(deltas, method.coefficients(products, wanted).T * rules.scale)
