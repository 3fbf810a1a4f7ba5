"""Which values of a delta are kept, row block by row block, so that no more than one dense delta is ever in hand.

Each function looks at a delta once and returns `keep(rows) -> rows`, to be called for blocks in their order. Knows no other delta and
no weights. Values are finite, so rows × mask drops the others: many times faster than a choice value by value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.deltas import Array, Delta, blocks, rows_of, to_dense

Keep = Callable[[Array], Array]
Likelihood = Callable[[Array], Any]  # rows -> how likely each is kept, one number or one for each
Seed = list[int]


def keep_all(_: Delta, __: FusionRules, ___: Seed) -> Keep:
    """Keep every value."""
    return lambda rows: rows


def by_magnitude(delta: Delta, rules: FusionRules, _: Seed) -> Keep:
    """Keep the largest values: TIES' trim (Yadav et al., arXiv 2306.01708)."""
    count = max(1, int(rules.density * delta.shape[0] * delta.shape[1]))
    (least,) = _sizes_at(delta, [count])
    return lambda rows: rows * (np.abs(rows) >= least)


def without_outliers(delta: Delta, rules: FusionRules, _: Seed) -> Keep:
    """Leave out the smallest values and the `gamma` largest: Model Breadcrumbs (Davari and Belilovsky, arXiv 2312.06795)."""
    size = delta.shape[0] * delta.shape[1]
    outliers = int(rules.gamma * size)
    last = max(1, outliers + int(rules.density * size))
    if not outliers:
        (least,) = _sizes_at(delta, [last])
        return _between(least, np.inf)
    most, least = _sizes_at(delta, [outliers, last])
    return _between(least, most)


def _between(least: float, most: float) -> Keep:
    def keep(rows: Array) -> Array:
        sizes = np.abs(rows)
        return np.asarray(rows * ((sizes >= least) & (sizes < most)))

    return keep


def _sizes_at(delta: Delta, places: list[int]) -> list[float]:
    """Return the n-th largest |value| for each place n (from 1), sorting in place."""
    sizes = to_dense(delta).reshape(-1)
    np.abs(sizes, out=sizes)
    at = [sizes.size - place for place in places]
    sizes.partition(at)
    return [float(sizes[place]) for place in at]


def at_random(delta: Delta, rules: FusionRules, seed: Seed) -> Keep:
    """Keep values by chance and make up for the rest: DARE (Yu et al., arXiv 2311.03099)."""
    density = np.float32(rules.density)
    return _drawn(delta, rules, seed, lambda _: density)


def by_rank_at_random(delta: Delta, rules: FusionRules, seed: Seed) -> Keep:
    """Keep larger values of a row more likely than smaller ones: DELLA's MagPrune (Deep et al., arXiv 2406.11617)."""
    columns = delta.shape[1]
    by_rank = np.linspace(rules.density - rules.epsilon, rules.density + rules.epsilon, columns, dtype=np.float32)

    def likelihood(rows: Array) -> Array:
        likely = np.empty_like(rows)
        np.put_along_axis(likely, np.argsort(np.abs(rows), axis=1), by_rank[None], axis=1)
        return likely

    return _drawn(delta, rules, seed, likelihood)


def _drawn(delta: Delta, rules: FusionRules, seed: Seed, likelihood: Likelihood) -> Keep:
    """Keep values as likely as told, scaled by 1 / likelihood, or so that Σ |value| stays (mergekit's `l1`), or not at all."""

    def drawer(rescale: bool) -> Keep:
        chance = np.random.default_rng(seed)

        def draw(rows: Array) -> Array:
            likely = likelihood(rows)
            kept = rows * (chance.random(rows.shape, dtype=np.float32) < likely)
            return np.asarray(kept / likely if rescale else kept)

        return draw

    if rules.rescale != "l1":
        return drawer(rules.rescale == "inverse")
    before = after = 0.0
    draw = drawer(False)
    for start, stop in blocks(delta.shape):
        rows = rows_of(delta, start, stop)
        before += float(np.abs(rows).sum(dtype=np.float64))
        after += float(np.abs(draw(rows)).sum(dtype=np.float64))
    factor = np.float32(before / after if after > 1e-7 else 1.0)
    again = drawer(False)
    return lambda rows: again(rows) * factor


SPARSIFIERS: dict[str, Callable[[Delta, FusionRules, Seed], Keep]] = {
    "magnitude": by_magnitude, "outliers": without_outliers, "random": at_random, "rank": by_rank_at_random,
}  # fmt: skip
