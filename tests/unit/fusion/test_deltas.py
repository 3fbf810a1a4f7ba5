"""Factors, their products, sums and cuts, beside the same of dense matrices in float64."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tests.random_deltas import as_float64, random_factors, relative_error
from tunesmith.fusion import deltas as algebra
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.deltas import (
    Delta,
    Dense,
    LowRank,
    blocks,
    combine,
    gram,
    inner,
    refactor,
    rescale_rows,
    row_grams,
    to_dense,
    zero,
)
from tunesmith.fusion.methods import METHODS, fuse_deltas

SHAPE = (40, 30)


def mixed() -> list[Delta]:
    """Return one delta of each kind, of different ranks."""
    weight = np.random.default_rng(9).standard_normal(SHAPE, dtype=np.float32)
    magnitude = np.linalg.norm(weight, axis=1) * np.linspace(0.9, 1.1, SHAPE[0], dtype=np.float32)
    return [
        random_factors(SHAPE, 3, 1), random_factors(SHAPE, 8, 2, -0.5), Dense(to_dense(random_factors(SHAPE, 20, 3))),
        rescale_rows(weight, random_factors(SHAPE, 4, 4), magnitude), zero(SHAPE),
    ]  # fmt: skip


def test_factors_by_hand() -> None:
    """2 · ([1, 2]ᵀ [3, 4, 5])ᵀ: rows 2·3·[1, 2], 2·4·[1, 2], 2·5·[1, 2]; its square sum is 4 · (1 + 4) · (9 + 16 + 25) = 1000."""
    delta = LowRank(np.array([[1.0], [2.0]], np.float32), np.array([[3.0, 4.0, 5.0]], np.float32), 2.0)
    assert to_dense(delta).tolist() == [[6, 12], [8, 16], [10, 20]]
    assert delta.shape == (3, 2)
    assert inner(delta, delta) == 1000


def test_rows_brought_to_a_length_by_hand() -> None:
    """W's row [3, 4] is 5 long; with nothing added and the length 10 it doubles, so it changes by itself. A row of nothing stays.

    [3, 0] and the factors' [0, 4] make [3, 4]; at the length 10 that is [6, 8], a change by [3, 8].
    """
    weight = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    delta = rescale_rows(weight, zero((2, 2)), np.array([10.0, 7.0], np.float32))
    assert to_dense(delta).tolist() == [[3, 4], [0, 0]]
    factors = LowRank(np.array([[0.0], [1.0]], np.float32), np.array([[2.0]], np.float32), 2.0)
    turned = rescale_rows(np.array([[3.0, 0.0]], np.float32), factors, np.array([10.0], np.float32))
    assert to_dense(turned).tolist() == [[3, 8]]


def test_products_of_every_pair_of_kinds() -> None:
    deltas = mixed()
    flat = np.stack([as_float64(delta).ravel() for delta in deltas])
    expected = flat @ flat.T
    assert np.abs(gram(deltas) - expected).max() < 1e-6 * expected.max()


def test_products_of_rows_add_up_to_the_whole() -> None:
    deltas = mixed()
    rows = np.stack([as_float64(delta) for delta in deltas])
    expected = np.einsum("ioc,joc->oij", rows, rows)
    assert np.abs(row_grams(deltas) - expected).max() < 1e-6 * expected.max()
    assert np.allclose(row_grams(deltas).sum(axis=0), gram(deltas))


@pytest.mark.parametrize("coefficients", [[0.3, -1.7], [0.0, 2.0], [1e-4, 300.0]])
def test_a_sum_of_factors_is_exact(coefficients: list[float]) -> None:
    """Ranks 3 and 8 side by side: 11; a coefficient of 0 takes no rank."""
    pair = mixed()[:2]
    total = combine(pair, np.array(coefficients))
    assert isinstance(total, LowRank)
    assert total.rank == (11 if all(coefficients) else 8)
    expected = sum(c * as_float64(delta) for c, delta in zip(coefficients, pair, strict=True))
    assert relative_error(to_dense(total), expected) < 1e-6


def test_a_sum_with_dense_ones_is_dense() -> None:
    deltas = mixed()
    coefficients = np.array([0.5, -2.0, 1.5, 0.25, 9.0])
    expected = sum(c * as_float64(delta) for c, delta in zip(coefficients, deltas, strict=True))
    assert relative_error(to_dense(combine(deltas, coefficients)), expected) < 1e-6


@pytest.mark.parametrize("count", [2, 4])
def test_rows_have_coefficients_of_their_own(count: int) -> None:
    """Of factors (2) the sum stays in factors; with dense ones among them (4) it does not."""
    deltas = mixed()[:count]
    coefficients = np.random.default_rng(5).standard_normal((count, SHAPE[0]))
    expected = sum(c[:, None] * as_float64(delta) for c, delta in zip(coefficients, deltas, strict=True))
    total = combine(deltas, coefficients)
    assert isinstance(total, LowRank) == (count == 2)
    assert relative_error(to_dense(total), expected) < 1e-6


def test_a_sum_of_nothing_is_nothing() -> None:
    total = combine([zero(SHAPE), random_factors(SHAPE, 2, 0)], np.array([1.0, 0.0]))
    assert isinstance(total, LowRank)
    assert total.rank == 0
    assert not to_dense(total).any()
    assert to_dense(total).shape == SHAPE
    assert refactor(total, 4) == (total, 1.0)


def test_parts_that_cancel_out_have_no_negative_length() -> None:
    """A change and its opposite side by side, as a fused adapter may hold them: length 0 but for rounding."""
    for seed in range(20):
        part = random_factors(SHAPE, 5, seed, 1.0)
        nothing = combine([part, part], np.array([1.0, -1.0]))
        assert 0 <= inner(nothing, nothing) < 1e-10 * inner(part, part)


def test_energy_kept_by_hand() -> None:
    """Of diag(3, 4) the best rank 1 is the 4: 16 of 9 + 16 = 0.64, as factors and as a dense matrix."""
    delta = LowRank(np.eye(2, dtype=np.float32), np.diag([3.0, 4.0]).astype(np.float32))
    for each in (delta, Dense(to_dense(delta))):
        factors, kept = refactor(each, 1)
        assert kept == pytest.approx(0.64)
        assert to_dense(factors) == pytest.approx(np.diag([0.0, 4.0]))


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("rank", [1, 5, 11])
def test_a_cut_is_the_truncated_svd(rank: int, dense: bool) -> None:
    """Eckart and Young: the error of the best rank r is the root of the squares of the singular values behind the r-th."""
    delta = combine([random_factors(SHAPE, 6, 7), random_factors(SHAPE, 8, 8)], np.array([1.0, -0.4]))
    exact = as_float64(delta)
    sizes = np.linalg.svd(exact, compute_uv=False)
    factors, kept = refactor(Dense(to_dense(delta)) if dense else delta, rank)
    assert factors.rank == rank
    error = np.linalg.norm(to_dense(factors) - exact)
    assert error == pytest.approx(np.sqrt((sizes[rank:] ** 2).sum()), rel=1e-4)
    assert kept == pytest.approx((sizes[:rank] ** 2).sum() / (sizes**2).sum(), rel=1e-6)


def test_a_large_dense_cut_is_next_to_the_best() -> None:
    """Singular values 1, 1/2, 1/3 … in a 640 × 600 matrix, which is cut by chance: at most 1 % above the best error."""
    chance = np.random.default_rng(3)
    left = np.linalg.qr(chance.standard_normal((640, 600)))[0]
    right = np.linalg.qr(chance.standard_normal((600, 600)))[0]
    sizes = 1 / np.arange(1, 601)
    values = ((left * sizes) @ right).astype(np.float32)
    assert min(values.shape) > algebra.EXACT_SVD_SIDE
    factors, kept = refactor(Dense(values), 16)
    best = np.sqrt((sizes[16:] ** 2).sum())
    assert best <= np.linalg.norm(to_dense(factors) - values) < 1.01 * best
    assert kept == pytest.approx((sizes[:16] ** 2).sum() / (sizes**2).sum(), rel=2e-3)


def test_blocks_cover_every_row_once() -> None:
    width = algebra.BLOCK_VALUES // 3
    assert list(blocks((8, width))) == [(0, 3), (3, 6), (6, 8)]
    assert list(blocks((2, algebra.BLOCK_VALUES * 2))) == [(0, 1), (1, 2)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["factors", "dora"])
def test_beside_the_factors_two_dense_modules_at_most(method: str, kind: str) -> None:
    """Three adapters of a 1536 × 1024 module (6 MB dense, 8 bytes a value in the algebra's own blocks only)."""
    shape = (1536, 1024)
    count = 2 if METHODS[method].most else 3
    factors = [random_factors(shape, 8, seed) for seed in range(count)]
    weight = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)  # a base's weight that DoRA's changes share
    magnitude = np.linalg.norm(weight, axis=1)
    deltas: list[Delta] = [rescale_rows(weight, f, magnitude) for f in factors] if kind == "dora" else list(factors)
    tracemalloc.start()
    fused = fuse_deltas("m", deltas, [1.0] * count, FusionRules(method, density=0.5, gamma=0.05, row_wise=True))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fused.shape == shape
    dense_modules = peak / weight.nbytes
    assert dense_modules < (0.3 if METHODS[method].exact and kind == "factors" else 2.0)
