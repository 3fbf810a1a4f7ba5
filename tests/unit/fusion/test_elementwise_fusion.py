"""Fusions that look at every value: facts by hand, laws of chance, and the same from whole matrices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.random_deltas import as_float64, random_factors, relative_error
from tunesmith.fusion import deltas as algebra
from tunesmith.fusion.config import DRAWN, ELEMENT_WISE, FusionRules
from tunesmith.fusion.deltas import Dense, to_dense
from tunesmith.fusion.elementwise import add_rows
from tunesmith.fusion.methods import fuse_deltas
from tunesmith.fusion.sparsify import SPARSIFIERS

Array = np.ndarray[Any, np.dtype[Any]]
SEED = [1, 2, 3]
WIDE = (400, 500)


def row(*values: float) -> Array:
    return np.array([values], np.float32)


def kept_of(sparsifier: str, values: Array, **rules: Any) -> Array:
    return SPARSIFIERS[sparsifier](Dense(values), FusionRules(**rules), SEED)(values.copy())


@pytest.mark.parametrize(
    ("elects", "normalize", "expected"),
    [
        (False, False, [1.0, -5.0, 6.0, 0.0]),
        (False, True, [0.25, -1.25, 1.5, 0.0]),
        (True, False, [4.0, -6.0, 6.0, 0.0]),
        (True, True, [4.0, -2.0, 1.5, 0.0]),
    ],
)
def test_signs_and_shares_by_hand(elects: bool, normalize: bool, expected: list[float]) -> None:
    """Weights 1 and 3. Column 1: 4 and −3 make 1, so plus wins, held by the first alone. Column 2: 1 and −6 make −5, held by the second
    (−6 / 3 = −2). Column 3: both agree, 6 / 4. Column 4: nobody changes it, and nothing is divided by zero.
    """
    parts = [row(4, 1, 3, 0), row(-1, -2, 1, 0)]
    assert add_rows(parts, np.array([1.0, 3.0]), elects, normalize)[0] == pytest.approx(expected)


def test_weights_that_cancel_out_divide_nothing_by_dust() -> None:
    """0.3 - 0.1 - 0.2 is 1e-8 in float32."""
    fused = add_rows([row(1), row(-1), row(-1)], np.array([0.3, -0.1, -0.2]), elects=True, normalize=True)
    assert fused.tolist() == [[pytest.approx(0.6)]]
    nothing = add_rows([row(1), row(2)], np.zeros(2), elects=True, normalize=True)
    assert nothing.tolist() == [[0.0]]


def test_the_largest_are_kept() -> None:
    """0.4 of ten values: the four that are largest without their sign; one at least of however few."""
    values = row(1, -10, 2, 9, -3, 8, 4, -7, 5, 6)
    assert kept_of("magnitude", values, density=0.4)[0].tolist() == [0, -10, 0, 9, 0, 8, 0, -7, 0, 0]
    assert kept_of("magnitude", values, density=0.01)[0].tolist() == [0, -10, 0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("gamma", "expected"), [(0.2, [0, 0, 0, 0, 0, 8, 0, -7, 0, 6]), (0.0, [0, -10, 0, 9, 0, 8, 0, 0, 0, 0])])
def test_outliers_are_left_out(gamma: float, expected: list[float]) -> None:
    """0.3 of ten values, without the two largest: the third to the fifth."""
    values = row(1, -10, 2, 9, -3, 8, 4, -7, 5, 6)
    assert kept_of("outliers", values, density=0.3, gamma=gamma)[0].tolist() == expected


@pytest.mark.parametrize("rescale", ["inverse", "l1", "none"])
@pytest.mark.parametrize("sparsifier", ["random", "rank"])
def test_what_is_dropped_is_made_up_for(sparsifier: str, rescale: str) -> None:
    """200 000 ones, 0.3 of them kept: the sum stays but for chance (a standard deviation of 0.4 %), exactly by `l1`; 0.3 of it without.

    By rank all ones of a row are alike in size, so each has its own likelihood, 0.1 to 0.5; a third of them is below 0.24.
    """
    values = np.ones(WIDE, np.float32)
    found = kept_of(sparsifier, values, density=0.3, epsilon=0.2, rescale=rescale)
    assert (found != 0).mean() == pytest.approx(0.3, rel=0.02)
    assert found.mean() == pytest.approx({"inverse": 1.0, "l1": 1.0, "none": 0.3}[rescale], rel=1e-5 if rescale == "l1" else 0.02)


def test_larger_values_are_kept_more_likely() -> None:
    """Columns grow from the left: the least is kept with 0.5 − 0.2, the greatest with 0.5 + 0.2, those between on a line; each is made up
    for by its own likelihood, so that every column has its mean.
    """
    values = np.tile(np.linspace(-0.1, -9.0, 11, dtype=np.float32), (20_000, 1))
    found = kept_of("rank", values, density=0.5, epsilon=0.2)
    assert (found != 0).mean(axis=0) == pytest.approx(np.linspace(0.3, 0.7, 11), abs=0.015)
    assert found.mean(axis=0) == pytest.approx(values[0], rel=0.04)


def test_each_row_has_ranks_of_its_own() -> None:
    """A row a thousand times smaller is dropped no more often."""
    values = np.concatenate([np.ones((1, 50_000), np.float32), np.full((1, 50_000), 1e-3, np.float32)])
    share = (kept_of("rank", values, density=0.5, epsilon=0.4) != 0).mean(axis=1)
    assert share == pytest.approx([0.5, 0.5], abs=0.01)


@pytest.mark.parametrize("method", DRAWN)
def test_chance_is_the_seed_the_module_and_the_place(method: str) -> None:
    deltas = [random_factors((60, 50), 4, seed) for seed in range(2)]
    rules = FusionRules(method, density=0.5, seed=7)

    def fused(module: str = "a", rules: FusionRules = rules, turned: bool = False) -> Array:
        return to_dense(fuse_deltas(module, deltas[::-1] if turned else deltas, [1.0, 1.0], rules))

    assert np.array_equal(fused(), fused())
    assert not np.array_equal(fused(), fused("b"))
    assert not np.array_equal(fused(), fused(rules=replace(rules, seed=8)))
    assert not np.array_equal(fused(), fused(turned=True))


@pytest.mark.parametrize("method", ELEMENT_WISE)
def test_the_size_of_blocks_changes_nothing(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the last bit of a product, which may decide between two values of one size."""
    deltas = [random_factors((64, 48), 4, seed) for seed in range(3)]
    rules = FusionRules(method, density=0.5, gamma=0.05)
    whole = to_dense(fuse_deltas("m", deltas, [1.0, 0.5, 2.0], rules))
    monkeypatch.setattr(algebra, "BLOCK_VALUES", 48 * 5)
    assert (np.abs(to_dense(fuse_deltas("m", deltas, [1.0, 0.5, 2.0], rules)) - whole) > 1e-5).sum() <= 2


@pytest.mark.parametrize("method", ELEMENT_WISE)
def test_all_kept_and_all_of_one_sign_is_the_plain_sum(method: str) -> None:
    """With density 1 nothing is dropped, and where all deltas are above 0 no sign is voted down."""
    deltas = [Dense(np.abs(to_dense(random_factors((30, 20), 4, seed)))) for seed in range(3)]
    rules = FusionRules(method, density=1.0, gamma=0.0, normalize="no", scale=-0.5)
    expected = -0.5 * sum(w * as_float64(delta) for w, delta in zip([1.0, 0.5, 2.0], deltas, strict=True))
    assert relative_error(to_dense(fuse_deltas("m", deltas, [1.0, 0.5, 2.0], rules)), expected) < 1e-6


def test_ties_from_whole_matrices() -> None:
    """The paper's three steps on whole matrices in float64: trim to the largest 0.3, elect, the mean of those that agree."""
    weights = [1.0, 0.5, -0.7]
    deltas = [random_factors((50, 40), 6, seed) for seed in range(3)]
    trimmed = []
    for weight, delta in zip(weights, deltas, strict=True):
        values = as_float64(delta)
        least = np.sort(np.abs(values).ravel())[-int(0.3 * values.size)]
        trimmed.append(weight * np.where(np.abs(values) >= least * (1 - 1e-9), values, 0))
    elected = np.where(sum(trimmed) >= 0, 1.0, -1.0)
    agree = [np.sign(each) == elected for each in trimmed]
    share = sum(weight * each for weight, each in zip(weights, agree, strict=True))
    expected = sum(each * a for each, a in zip(trimmed, agree, strict=True)) / np.where(share == 0, 1, share)
    found = to_dense(fuse_deltas("m", deltas, weights, FusionRules("ties", density=0.3)))
    assert (np.abs(found - expected) > 1e-5).sum() <= 2
