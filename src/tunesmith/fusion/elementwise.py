"""Fusions that look at every value: trim each delta, elect signs, add up, one block of rows at a time. Knows no files.

Semantics are mergekit's: signs are elected on the weighted deltas, and where values are normalised, by the weights that agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunesmith.errors import UserError
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.deltas import Array, Delta, Dense, blocks, rows_of
from tunesmith.fusion.sparsify import SPARSIFIERS, keep_all

_DUST = 1e-6  # of the weights: what float32 leaves of a sum that is nought


def fuse_values(
    deltas: Sequence[Delta], weights: Array, rules: FusionRules, sparsifier: str, elects: bool, normalize: bool, seeds: Sequence[list[int]]
) -> Dense:  # fmt: skip
    """Return the fused delta [out, in]; beside it one dense delta at most is in memory. `seeds` are one per delta, for what is drawn.

    Raises UserError `fusion_weights_cancel`.
    """
    if normalize and not elects and abs(weights.sum()) < 1e-8:
        raise UserError("fusion_weights_cancel")
    sparsify = SPARSIFIERS[sparsifier] if rules.density < 1 else keep_all
    keeps = [sparsify(delta, rules, seed) for delta, seed in zip(deltas, seeds, strict=True)]
    fused = np.empty(deltas[0].shape, np.float32)
    for start, stop in blocks(fused.shape):
        parts = [keep(rows_of(delta, start, stop)) for delta, keep in zip(deltas, keeps, strict=True)]
        fused[start:stop] = add_rows(parts, weights, elects, normalize)
        fused[start:stop] *= np.float32(rules.scale)
    return Dense(fused)


def add_rows(parts: Sequence[Array], weights: Array, elects: bool, normalize: bool) -> Array:
    """Return the weighted sum of blocks of rows; with an election, of the values whose sign has the greater sum (TIES, 3.2–3.3).

    The blocks are used up.
    """
    for part, weight in zip(parts, weights, strict=True):
        part *= np.float32(weight)
    total = parts[0].copy()
    for part in parts[1:]:
        total += part
    if not elects:
        if normalize:
            total /= np.float32(weights.sum())
        return total
    sign = np.float32(2) * (total >= 0) - np.float32(1)
    total.fill(0)
    agreeing = np.zeros_like(total)
    for part, weight in zip(parts, weights, strict=True):
        part *= sign
        np.maximum(part, 0, out=part)
        total += part
        if normalize:
            agreeing += (part > 0) * np.float32(weight)
    if normalize:
        agreeing[np.abs(agreeing) <= _DUST * np.abs(weights).sum()] = 1  # nobody changes the value, or those who do cancel out
        total /= agreeing
    total *= sign
    return total
