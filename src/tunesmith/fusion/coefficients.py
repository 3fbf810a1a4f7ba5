"""Fusions that are sums of deltas: how much of each, from nothing but the products between them. Knows no factors and no files.

Each function takes the products ⟨Δᵢ, Δⱼ⟩ [k, k] and the weights [k] and returns coefficients [k]; zero deltas have no direction and are
left out of what needs one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tunesmith.errors import UserError

Array = np.ndarray[Any, np.dtype[Any]]
PARALLEL = 0.9995  # beyond this cosine the great circle is a straight line; mergekit's threshold
KARCHER_STEPS, KARCHER_TOLERANCE = 100, 1e-9


def weighted_mean(_: Array, weights: Array) -> Array:
    """Return wᵢ / Σ w. Raises UserError `fusion_weights_cancel`."""
    total = weights.sum()
    if abs(total) < 1e-8:
        raise UserError("fusion_weights_cancel")
    shares: Array = weights / total
    return shares


def weighted_sum(_: Array, weights: Array) -> Array:
    """Return the weights as they are: task arithmetic (Ilharco et al., arXiv 2212.04089); below zero forgets."""
    return weights


def slerp(products: Array, weights: Array) -> Array:
    """Return the point at t = w₂ / (w₁ + w₂) of the great circle between two deltas (Shoemake, 1985); a straight line where it has none.

    Of products [..., 2, 2], such as those of each row, as many points [..., 2].
    """
    t = float(weighted_mean(products, weights)[1])
    lengths = np.sqrt(np.diagonal(products, axis1=-2, axis2=-1))
    both = lengths.prod(axis=-1)
    cosine = np.divide(products[..., 0, 1], both, out=np.ones_like(both), where=both > 0)
    straight = np.abs(cosine) > PARALLEL
    angle = np.arccos(np.where(straight, 0.0, cosine))[..., None]
    shares = np.array([1 - t, t])
    return np.where(straight[..., None], shares, np.sin(shares * angle) / np.sin(angle))


def karcher_mean(products: Array, weights: Array) -> Array:
    """Return the weighted Riemannian mean of the directions, as long as the deltas are on average (Karcher, 1977)."""
    lengths = np.sqrt(np.diag(products))
    there = lengths > 0
    if not there.any():
        return np.zeros(len(weights))
    shares = weighted_mean(products, np.where(there, weights, 0.0))
    units = np.diag(np.divide(1.0, lengths, out=np.zeros_like(lengths), where=there))  # each direction as coefficients

    def length(x: Array) -> float:
        return float(np.sqrt(max(float(x @ products @ x), 0.0)))

    mean = shares @ units
    if length(mean) < 1e-12:
        return np.zeros(len(weights))  # directions that cancel out have no mean
    mean = mean / length(mean)
    for _ in range(KARCHER_STEPS):
        tangent = np.zeros(len(weights))
        for share, unit in zip(shares[there], units[there], strict=True):
            cosine = float(np.clip(mean @ products @ unit, -1, 1))
            angle = np.arccos(cosine)
            if 1e-12 < angle < np.pi - 1e-9:
                tangent += share * angle / np.sin(angle) * (unit - cosine * mean)
        step = length(tangent)
        if step < KARCHER_TOLERANCE:
            break
        mean = np.cos(step) * mean + np.sin(step) * tangent / step
        mean = mean / length(mean)
    return np.asarray(float((shares * lengths).sum()) * mean)


def model_stock(products: Array, _: Array) -> Array:
    """Return the mean of the deltas, shortened by how much they disagree (Jang et al., arXiv 2403.19522, eq. 6); weights have no place.

    Where they are opposed on average, nothing is left: the formula would turn round, and grow without bound. One alone stays.
    """
    lengths = np.sqrt(np.diag(products))
    there = lengths > 0
    k = int(there.sum())
    if k < 2:
        return np.asarray(there, np.float64)
    cosines = (products / np.outer(lengths, lengths).clip(1e-300))[np.ix_(there, there)]
    mean_cosine = max(0.0, float(cosines[np.triu_indices(k, 1)].mean()))
    return np.asarray(there * mean_cosine / (1 + (k - 1) * mean_cosine))
