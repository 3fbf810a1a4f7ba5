"""How much of each delta: facts of the circle, and the same from dense vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tunesmith.errors import UserError
from tunesmith.fusion.coefficients import karcher_mean, model_stock, slerp, weighted_mean, weighted_sum

Array = np.ndarray[Any, np.dtype[Any]]
EVEN = np.array([1.0, 1.0])


def products(*vectors: Array) -> Array:
    stacked = np.stack(vectors)
    return np.asarray(stacked @ stacked.T)


def random_vectors(count: int, seed: int = 0) -> Array:
    """Return vectors that lean to one side, as adapters of one task do."""
    chance = np.random.default_rng(seed)
    return np.asarray(chance.standard_normal((count, 50)) + 0.6) * np.linspace(1, 2, count)[:, None]


def test_shares_and_sums() -> None:
    """1 and 3 of 4; negative weights stay; shares of 0 in all there are none."""
    none = np.eye(2)
    assert weighted_mean(none, np.array([1.0, 3.0])).tolist() == [0.25, 0.75]
    assert weighted_sum(none, np.array([1.0, -0.5])).tolist() == [1.0, -0.5]
    with pytest.raises(UserError) as caught:
        weighted_mean(none, np.array([2.0, -2.0]))
    assert caught.value.code == "fusion_weights_cancel"


def test_halfway_between_right_angles() -> None:
    """Halfway between [1, 0] and [0, 1] on the circle is [1, 1] / √2."""
    assert slerp(np.eye(2), EVEN) == pytest.approx([np.sqrt(0.5)] * 2)


@pytest.mark.parametrize(("weights", "expected"), [((1.0, 0.0), (1.0, 0.0)), ((0.0, 2.0), (0.0, 1.0))])
def test_the_ends_of_the_circle(weights: tuple[float, float], expected: tuple[float, float]) -> None:
    x, y = random_vectors(2)
    assert slerp(products(x, y), np.array(weights)) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("second", [[2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]], ids=["parallel", "opposite", "zero"])
def test_where_there_is_no_circle_the_line(second: list[float]) -> None:
    found = slerp(products(np.array([1.0, 0.0]), np.array(second)), np.array([1.0, 3.0]))
    assert found.tolist() == [0.25, 0.75]


def test_the_circle_keeps_the_length() -> None:
    """A third of the way between two unit vectors 60° apart: length 1, 20° from the first."""
    x, y = np.array([1.0, 0.0]), np.array([0.5, np.sqrt(0.75)])
    first, second = slerp(products(x, y), np.array([2.0, 1.0]))
    assert first * x + second * y == pytest.approx([np.cos(np.pi / 9), np.sin(np.pi / 9)])


def test_many_circles_at_once() -> None:
    pairs = [random_vectors(2, seed) for seed in range(4)]
    pairs.append(np.zeros((2, 50)))
    stacked = np.stack([products(*pair) for pair in pairs])
    weights = np.array([0.3, 0.9])
    assert slerp(stacked, weights) == pytest.approx(np.stack([slerp(each, weights) for each in stacked]))


def test_the_mean_of_right_angles() -> None:
    """Three directions at right angles have their middle at 1/√3 of each; lengths 1, 1 and 4 average to 2."""
    assert karcher_mean(np.eye(3), np.ones(3)) == pytest.approx([1 / np.sqrt(3)] * 3)
    longer = karcher_mean(np.diag([1.0, 1.0, 16.0]), np.ones(3))
    assert longer == pytest.approx([2 / np.sqrt(3), 2 / np.sqrt(3), 0.5 / np.sqrt(3)])


def test_the_mean_of_two_is_the_circle() -> None:
    x, y = (vector / np.linalg.norm(vector) for vector in random_vectors(2))
    weights = np.array([0.7, 0.3])
    assert karcher_mean(products(x, y), weights) == pytest.approx(slerp(products(x, y), weights), abs=1e-8)


def test_the_mean_is_where_the_pulls_are_even() -> None:
    """The Riemannian mean's own law: the weighted tangents to all directions add up to nothing."""
    vectors, weights = random_vectors(4), np.array([1.0, 2.0, 0.5, 1.5])
    mean = karcher_mean(products(*vectors), weights) @ vectors
    assert np.linalg.norm(mean) == pytest.approx(weights @ np.linalg.norm(vectors, axis=1) / weights.sum())
    mean /= np.linalg.norm(mean)
    pull = np.zeros(50)
    for vector, weight in zip(vectors, weights, strict=True):
        unit = vector / np.linalg.norm(vector)
        angle = np.arccos(mean @ unit)
        pull += weight * angle / np.sin(angle) * (unit - (mean @ unit) * mean)
    assert np.abs(pull).max() < 1e-8


def test_directions_without_a_mean() -> None:
    """Opposite ones cancel out; a zero delta has no direction and is left out; of nothing there is nothing."""
    x = np.array([1.0, 0.0])
    assert karcher_mean(products(x, -x), EVEN).tolist() == [0, 0]
    assert karcher_mean(products(x, 0 * x), EVEN) == pytest.approx([1, 0])
    assert karcher_mean(np.zeros((2, 2)), EVEN).tolist() == [0, 0]


def test_model_stock_by_hand() -> None:
    """Two at 60°: t = 2 · ½ / (1 + ½) = 2/3 of the mean, so 1/3 of each. At right angles nothing is common; parallel ones stay."""
    x, y = np.array([1.0, 0.0]), np.array([0.5, np.sqrt(0.75)])
    assert model_stock(products(x, y), EVEN) == pytest.approx([1 / 3] * 2)
    assert model_stock(np.eye(3), EVEN).tolist() == [0, 0, 0]
    assert model_stock(products(x, 3 * x), EVEN) == pytest.approx([0.5, 0.5])


def test_model_stock_from_dense_vectors() -> None:
    vectors = random_vectors(3)
    units = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    cosine = np.mean([units[0] @ units[1], units[0] @ units[2], units[1] @ units[2]])
    ratio = 3 * cosine / (1 + 2 * cosine)
    assert model_stock(products(*vectors), EVEN) @ vectors == pytest.approx(ratio * vectors.mean(axis=0))


def test_model_stock_at_its_ends() -> None:
    """Opposed ones leave nothing instead of a point far behind; a delta beside zeros stays what it is."""
    x = np.array([1.0, 0.0])
    assert model_stock(products(x, np.array([-0.9, 0.1])), EVEN).tolist() == [0, 0]
    assert model_stock(products(x, 0 * x), EVEN).tolist() == [1, 0]
    assert model_stock(np.zeros((2, 2)), EVEN).tolist() == [0, 0]


@pytest.mark.parametrize("method", [weighted_mean, slerp, karcher_mean, model_stock])
def test_longer_vectors_have_the_same_coefficients(method: Callable[[Array, Array], Array]) -> None:
    """All deltas twice as long: the result is twice as long, so the coefficients stay."""
    vectors, weights = random_vectors(2), np.array([0.4, 0.6])
    assert method(products(*(2 * vectors)), weights) == pytest.approx(method(products(*vectors), weights), abs=1e-9)
