"""What an adapter adds to a weight, and the algebra of it. Knows no files, no methods and no mlx.

A weight is [out, in], as torch and mlx have it. LoRA's ΔW = scale · (a @ b)ᵀ with mlx-lm's factors a [in, r] and b [r, out].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
BLOCK_VALUES = 1 << 17  # dense values that are in hand at once, beside a module's result: they stay in a core's cache
EXACT_SVD_SIDE = 512
OVERSAMPLING, POWER_ITERATIONS = 16, 2


@dataclass(frozen=True)
class LowRank:
    """ΔW as factors: a [in, r], b [r, out]."""

    a: Array
    b: Array
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Return (out, in) of ΔW."""
        return self.b.shape[1], self.a.shape[0]

    @property
    def rank(self) -> int:
        """Return how many columns the factors have."""
        return int(self.a.shape[1])


@dataclass(frozen=True)
class Dense:
    """ΔW as it is, [out, in]."""

    values: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Return (out, in) of ΔW."""
        return self.values.shape[0], self.values.shape[1]


@dataclass(frozen=True)
class Rescaled:
    """ΔW = diag(gains) (W + L) − W, DoRA's change (Liu et al., arXiv 2402.09353); W [out, in] is shared, rows are computed when needed."""

    weight: Array
    factors: LowRank
    gains: Array  # [out]

    @property
    def shape(self) -> tuple[int, int]:
        """Return (out, in) of ΔW."""
        return self.factors.shape


Delta = LowRank | Dense | Rescaled


def rescale_rows(weight: Array, factors: LowRank, magnitude: Array) -> Rescaled:
    """Return the change that brings the rows of W + L to the lengths `magnitude` [out]; rows of nothing stay."""
    lengths = np.empty(len(weight))
    for start, stop in blocks(weight.shape):
        lengths[start:stop] = np.linalg.norm(weight[start:stop] + rows_of(factors, start, stop), axis=1)
    return Rescaled(weight, factors, np.divide(magnitude, lengths, out=np.ones(len(weight)), where=lengths > 0))


def zero(shape: tuple[int, int]) -> LowRank:
    """Return the delta of an adapter that leaves a weight [out, in] alone."""
    return LowRank(np.zeros((shape[1], 0), np.float32), np.zeros((0, shape[0]), np.float32))


def rows_of(delta: Delta, start: int, stop: int) -> Array:
    """Return the rows [stop - start, in] of ΔW, new memory that may be changed."""
    if isinstance(delta, Dense):
        return delta.values[start:stop].astype(np.float32, copy=True)
    if isinstance(delta, Rescaled):
        gains = delta.gains[start:stop, None]
        rows = rows_of(delta.factors, start, stop) * gains.astype(np.float32)
        rows += delta.weight[start:stop] * (gains - 1).astype(np.float32)
        return rows
    return (delta.b[:, start:stop].T * np.float32(delta.scale)) @ delta.a.T


def blocks(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of rows of a weight [out, in] that fit the hand."""
    rows = max(1, BLOCK_VALUES // max(1, shape[1]))
    for start in range(0, shape[0], rows):
        yield start, min(start + rows, shape[0])


def to_dense(delta: Delta) -> Array:
    """Return ΔW [out, in], new memory: the very values that its blocks have."""
    whole = np.empty(delta.shape, np.float32)
    for start, stop in blocks(delta.shape):
        whole[start:stop] = rows_of(delta, start, stop)
    return whole


def inner(x: Delta, y: Delta) -> float:
    """Return the Frobenius product ⟨X, Y⟩, of factors without forming either: Σ (AₓᵀA_y) ∘ (BₓB_yᵀ)."""
    if isinstance(x, LowRank) and isinstance(y, LowRank):
        products = (x.a.T.astype(np.float64) @ y.a) * (x.b.astype(np.float64) @ y.b.T)
        total = x.scale * y.scale * float(products.sum())
        return max(0.0, total) if x is y else total  # parts that cancel out may leave a rounding error below 0
    return float(row_products(x, y).sum())


def row_products(x: Delta, y: Delta) -> Array:
    """Return the products ⟨Xₒ, Yₒ⟩ of the output rows [out] in float64; of factors from the factors."""
    if isinstance(x, LowRank) and isinstance(y, LowRank):
        core = x.a.T.astype(np.float64) @ y.a
        return np.asarray(x.scale * y.scale * np.einsum("ro,ro->o", x.b, core @ y.b))
    found = np.empty(x.shape[0])
    for start, stop in blocks(x.shape):
        left = rows_of(x, start, stop).astype(np.float64)
        found[start:stop] = np.einsum("oi,oi->o", left, left if y is x else rows_of(y, start, stop))
    return found


def gram(deltas: Sequence[Delta]) -> Array:
    """Return the products ⟨Δᵢ, Δⱼ⟩ [k, k] in float64."""
    found = np.zeros((len(deltas), len(deltas)))
    for i, x in enumerate(deltas):
        for j in range(i, len(deltas)):
            found[i, j] = found[j, i] = inner(x, deltas[j])
    return found


def row_grams(deltas: Sequence[Delta]) -> Array:
    """Return each output row's products [out, k, k] in float64."""
    found = np.zeros((deltas[0].shape[0], len(deltas), len(deltas)))
    for i, x in enumerate(deltas):
        for j in range(i, len(deltas)):
            found[:, i, j] = found[:, j, i] = row_products(x, deltas[j])
    return found


def combine(deltas: Sequence[Delta], coefficients: Array) -> Delta:
    """Return Σ cᵢ Δᵢ exactly: of factors by putting their ranks side by side. `coefficients` [k], or [k, out] for one per output row."""
    if not all(isinstance(delta, LowRank) for delta in deltas):
        return _add_dense(deltas, coefficients)
    parts_a, parts_b = [], []
    for delta, c in zip(deltas, np.asarray(coefficients, np.float64), strict=True):
        assert isinstance(delta, LowRank)
        if not delta.rank or not np.any(c):
            continue
        weight = np.asarray(c * delta.scale)
        balance = np.sqrt(np.abs(weight).max())  # both factors about equally large, as a trained pair is
        parts_a.append(delta.a * np.float32(balance))
        parts_b.append((delta.b * (weight / balance)).astype(np.float32))
    if not parts_a:
        return zero(deltas[0].shape)
    return LowRank(np.concatenate(parts_a, axis=1), np.concatenate(parts_b, axis=0))


def _add_dense(deltas: Sequence[Delta], coefficients: Array) -> Dense:
    total = np.zeros(deltas[0].shape, np.float32)
    for start, stop in blocks(total.shape):
        for delta, c in zip(deltas, np.asarray(coefficients, np.float32), strict=True):
            total[start:stop] += rows_of(delta, start, stop) * (c[start:stop, None] if np.ndim(c) else c)
    return Dense(total)


def refactor(delta: Delta, rank: int) -> tuple[LowRank, float]:
    """Return the best factors of a rank (Eckart and Young, 1936) and the share of ‖ΔW‖² that they keep.

    Factors are cut by QR, QR and an SVD of their small core, never forming ΔW; a dense delta by a randomised SVD (Halko et al.,
    arXiv 0909.4061), exactly when it is small.
    """
    if not isinstance(delta, LowRank):
        return _factor(delta.values if isinstance(delta, Dense) else to_dense(delta), rank)
    if delta.rank <= rank:
        return delta, 1.0
    q_a, r_a = np.linalg.qr(delta.a)
    q_b, r_b = np.linalg.qr(delta.b.T)
    left, sizes, right = np.linalg.svd(r_a.astype(np.float64) @ r_b.T.astype(np.float64))
    root = np.sqrt(sizes[:rank])
    total = float(np.sum(sizes**2))
    kept = float(np.sum(sizes[:rank] ** 2)) / total if total else 1.0
    a = (q_a @ (left[:, :rank] * root)).astype(np.float32)
    b = ((right[:rank] * root[:, None]) @ q_b.T).astype(np.float32)
    return LowRank(a, b, delta.scale), kept


def _factor(values: Array, rank: int) -> tuple[LowRank, float]:
    whole = Dense(values)
    total = inner(whole, whole)
    rank = min(rank, *values.shape)
    if min(values.shape) <= max(EXACT_SVD_SIDE, rank + OVERSAMPLING):
        left, sizes, right = np.linalg.svd(values, full_matrices=False)
    else:
        basis = values @ np.random.default_rng(0).standard_normal((values.shape[1], rank + OVERSAMPLING)).astype(np.float32)
        for _ in range(POWER_ITERATIONS):
            basis = values @ (values.T @ np.linalg.qr(basis)[0])
        basis = np.linalg.qr(basis)[0]
        small, sizes, right = np.linalg.svd(basis.T @ values, full_matrices=False)
        left = basis @ small
    root = np.sqrt(sizes[:rank])
    kept = float(np.sum(sizes[:rank].astype(np.float64) ** 2)) / total if total else 1.0
    a = (right[:rank] * root[:, None]).T.astype(np.float32)
    return LowRank(np.ascontiguousarray(a), np.ascontiguousarray((left[:, :rank] * root).T, dtype=np.float32)), min(1.0, kept)
