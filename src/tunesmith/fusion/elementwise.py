"""Fusions that look at every value: trim each delta, elect signs, add up, one block of rows at a time. Knows no files.

Semantics are mergekit's: signs are elected on the weighted deltas, and where values are normalised, by the weights that agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunesmith.errors import UserError
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.deltas import Array, Delta, Dense, blocks, rows_of
from tunesmith.fusion.sparsify import SPARSIFIERS


def fuse_values(
    deltas: Sequence[Delta], weights: Array, rules: FusionRules, sparsifier: str, elects: bool, normalize: bool, seeds: Sequence[list[int]]
) -> Dense:  # fmt: skip
    """Return the fused delta [out, in]; beside it one dense delta at most is in memory. `seeds` are one per delta, for what is drawn.

    Raises UserError `fusion_weights_cancel`.
    """
    if normalize and not elects and abs(weights.sum()) < 1e-8:
        raise UserError("fusion_weights_cancel")
    keeps = [SPARSIFIERS[sparsifier](delta, rules, seed) if rules.density < 1 else None for delta, seed in zip(deltas, seeds, strict=True)]
    fused = np.zeros(deltas[0].shape, np.float32)
    for start, stop in blocks(fused.shape):
        parts = []
        for delta, keep in zip(deltas, keeps, strict=True):
            rows = rows_of(delta, start, stop)
            parts.append(keep(rows) if keep else rows)
        fused[start:stop] = add_rows(parts, weights, elects, normalize) * np.float32(rules.scale)
    return Dense(fused)


def add_rows(parts: Sequence[Array], weights: Array, elects: bool, normalize: bool) -> Array:
    """Return the weighted sum of blocks of rows; with an election, of the values whose sign has the greater sum (TIES, 3.2–3.3)."""
    weighted = [part * np.float32(weight) for part, weight in zip(parts, weights, strict=True)]
    total = np.sum(weighted, axis=0)
    if not elects:
        return np.asarray(total / np.float32(weights.sum())) if normalize else np.asarray(total)
    positive = total >= 0
    total = np.zeros_like(total)
    agreeing = np.zeros_like(total)
    for part, weight in zip(weighted, weights, strict=True):
        agrees = np.where(positive, part > 0, part < 0)
        total += part * agrees
        agreeing += np.float32(weight) * agrees
    if normalize:
        agreeing[agreeing == 0] = 1
        total /= agreeing
    return np.asarray(total)
