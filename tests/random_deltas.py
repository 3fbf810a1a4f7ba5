"""Random adapters' changes for tests, and what they are as dense matrices in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from tunesmith.fusion.deltas import Delta, Dense, LowRank, Rescaled

Array = np.ndarray[Any, np.dtype[Any]]


def random_factors(shape: tuple[int, int], rank: int, seed: int, scale: float = 2.0) -> LowRank:
    """Return factors of a change [out, in] about as large as a trained one."""
    chance = np.random.default_rng(seed)
    out, columns = shape
    a = chance.standard_normal((columns, rank), dtype=np.float32) * np.float32(0.1)
    b = chance.standard_normal((rank, out), dtype=np.float32) * np.float32(0.05)
    return LowRank(a, b, scale)


def as_float64(delta: Delta) -> Array:
    """Return ΔW [out, in] by its definition."""
    if isinstance(delta, Dense):
        return delta.values.astype(np.float64)
    if isinstance(delta, Rescaled):
        return (delta.weight + as_float64(delta.factors)) * delta.gains[:, None] - delta.weight
    return delta.scale * (delta.a.astype(np.float64) @ delta.b.astype(np.float64)).T


def relative_error(found: Array, expected: Array) -> float:
    """Return ‖found − expected‖ / ‖expected‖."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
