"""Which values of a delta are kept, row block by row block, so that no more than one dense delta is ever in hand.

Each function looks at a delta once and returns `keep(rows) -> rows`, to be called for blocks in their order. Knows no other
delta and no weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.deltas import Array, Delta, blocks, rows_of, to_dense

Keep = Callable[[Array], Array]
Draw = Callable[[Array, np.random.Generator], Array]  # rows -> which of them are kept
Seed = list[int]


def by_magnitude(delta: Delta, rules: FusionRules, _: Seed) -> Keep:
    """Keep the largest values: TIES' trim (Yadav et al., arXiv 2306.01708)."""
    count = max(1, int(rules.density * delta.shape[0] * delta.shape[1]))
    (least,) = _sizes_at(delta, [count])
    return lambda rows: np.where(np.abs(rows) >= least, rows, np.float32(0))


def without_outliers(delta: Delta, rules: FusionRules, _: Seed) -> Keep:
    """Leave out the smallest values and the `gamma` largest: Model Breadcrumbs (Davari and Belilovsky, arXiv 2312.06795)."""
    size = delta.shape[0] * delta.shape[1]
    outliers, kept = int(rules.gamma * size), int(rules.density * size)
    last = min(size, max(1, outliers + kept))
    if not outliers:
        (least,) = _sizes_at(delta, [last])
        return lambda rows: np.where(np.abs(rows) >= least, rows, np.float32(0))
    most, least = _sizes_at(delta, [outliers, last])
    return lambda rows: np.where((np.abs(rows) >= least) & (np.abs(rows) < most), rows, np.float32(0))


def _sizes_at(delta: Delta, places: list[int]) -> list[float]:
    """Return the n-th largest |value| for each place n (from 1), sorting in place."""
    if places == [delta.shape[0] * delta.shape[1]]:
        return [0.0]  # all of them
    sizes = to_dense(delta).reshape(-1)
    np.abs(sizes, out=sizes)
    at = [sizes.size - place for place in places]
    sizes.partition(at)
    return [float(sizes[place]) for place in at]


def at_random(delta: Delta, rules: FusionRules, seed: Seed) -> Keep:
    """Keep values by chance and make up for the rest: DARE (Yu et al., arXiv 2311.03099)."""

    def draw(rows: Array, chance: np.random.Generator) -> Array:
        return np.asarray(chance.random(rows.shape, dtype=np.float32) < rules.density)

    return _drawn(delta, rules, seed, draw)


def by_rank_at_random(delta: Delta, rules: FusionRules, seed: Seed) -> Keep:
    """Keep larger values of a row more likely than smaller ones: DELLA's MagPrune (Deep et al., arXiv 2406.11617)."""

    def draw(rows: Array, chance: np.random.Generator) -> Array:
        ranks = np.empty(rows.shape, np.float32)
        order = np.argsort(np.abs(rows), axis=1)
        np.put_along_axis(ranks, order, np.arange(rows.shape[1], dtype=np.float32)[None], axis=1)
        likely = rules.density - rules.epsilon + ranks * np.float32(2 * rules.epsilon / max(1, rows.shape[1] - 1))
        return np.asarray(chance.random(rows.shape, dtype=np.float32) < likely)

    return _drawn(delta, rules, seed, draw)


def _drawn(delta: Delta, rules: FusionRules, seed: Seed, draw: Draw) -> Keep:
    """Keep what `draw` says, scaled by 1 / density, or so that Σ |value| stays (mergekit's `l1`), or not at all."""
    factor = {"inverse": 1 / rules.density, "none": 1.0}.get(rules.rescale)
    if factor is None:
        before = after = 0.0
        chance = np.random.default_rng(seed)
        for start, stop in blocks(delta.shape):
            rows = rows_of(delta, start, stop)
            before += float(np.abs(rows).sum(dtype=np.float64))
            after += float(np.abs(rows[draw(rows, chance)]).sum(dtype=np.float64))
        factor = before / after if after > 1e-7 else 1.0
    chance = np.random.default_rng(seed)
    return lambda rows: np.where(draw(rows, chance), rows * np.float32(factor), np.float32(0))


SPARSIFIERS: dict[str, Callable[[Delta, FusionRules, Seed], Keep]] = {
    "magnitude": by_magnitude, "outliers": without_outliers, "random": at_random, "rank": by_rank_at_random,
}  # fmt: skip
