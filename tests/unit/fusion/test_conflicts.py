"""The map of how adapters agree, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.random_deltas import as_float64, random_factors
from tunesmith.fusion.conflicts import SAMPLED_ROWS, ModuleConflict, compare_module, remarks
from tunesmith.fusion.deltas import Delta, Dense


def dense(*rows: list[float]) -> Dense:
    return Dense(np.array(rows, np.float32))


def test_a_module_by_hand() -> None:
    """[3, 4, 0] and [3, −4, 5]: the product 9 − 16 = −7 over 5 · √50; of two values that both change, one differs in sign."""
    found = compare_module("m", [dense([3, 4, 0]), None, dense([3, -4, 5])])
    cosine = -7 / (5 * np.sqrt(50))
    assert found.cosine[0][2] == pytest.approx(cosine)
    assert found.cosine[2][0] == pytest.approx(cosine)
    assert found.cosine[0][0] == pytest.approx(1)
    assert found.sign_disagreement[0][2] == 0.5
    assert found.cosine[1] == [None] * 3
    assert [row[1] for row in found.sign_disagreement] == [None] * 3
    assert found.norm_share == pytest.approx([5 / (5 + np.sqrt(50)), 0, np.sqrt(50) / (5 + np.sqrt(50))])


def test_a_change_by_nothing_agrees_with_nobody() -> None:
    found = compare_module("m", [dense([0, 0]), dense([1, 2])])
    assert found.cosine[0] == [None, None]
    assert found.norm_share == [0, 1]
    assert compare_module("m", [dense([0, 0]), dense([0, 0])]).norm_share == [0, 0]


def test_signs_of_a_large_module_are_read_from_some_rows() -> None:
    """1000 rows of random factors: the sampled share is within 3 % of the whole's."""
    deltas: list[Delta] = [random_factors((1000, 64), 8, seed) for seed in range(2)]
    assert deltas[0].shape[0] > SAMPLED_ROWS
    x, y = (as_float64(delta) for delta in deltas)
    found = compare_module("m", deltas).sign_disagreement[0][1]
    assert found == pytest.approx(float(((x > 0) != (y > 0)).mean()), abs=0.03)


def module(cosine: float | None, signs: float | None) -> ModuleConflict:
    return ModuleConflict("m", [[1.0, cosine], [cosine, 1.0]], [[0.0, signs], [signs, 0.0]], [0.5, 0.5])


@pytest.mark.parametrize(
    ("cosines", "signs", "told"),
    [
        ((0.95, 0.93), (0.1, 0.1), ["redundant"]),
        ((-0.3, -0.1), (0.6, 0.6), ["opposed"]),
        ((0.0, 0.1), (0.6, 0.56), ["signs_clash"]),
        ((None, None), (None, None), ["disjoint"]),
        ((0.3, None), (0.4, None), []),
    ],
)
def test_what_a_map_says(cosines: tuple[float | None, ...], signs: tuple[float | None, ...], told: list[str]) -> None:
    found = [module(cosine, clash) for cosine, clash in zip(cosines, signs, strict=True)]
    assert [remark.code for remark in remarks(found, {0: 1.0, 1: 1.0})] == told


def test_who_is_loudest() -> None:
    """4 of 4 + 1 is 0.8, above 0.75."""
    (remark,) = remarks([module(0.2, 0.4)], {0: 1.0, 1: 4.0})
    assert (remark.code, remark.adapters, remark.value) == ("dominant", (1,), 0.8)
    assert remarks([], {}) == []
