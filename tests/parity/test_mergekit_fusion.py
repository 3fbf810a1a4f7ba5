"""Fusions beside mergekit's own methods, on the same deltas: its base is a weight of zeros, so that its models are the deltas.

Where the two differ by intent, and how the test brings them together:
- DARE, DELLA: mergekit keeps Σ |value| as it was (our `rescale: l1`); the papers divide by the likelihood (our default).
- DARE, DELLA: what is dropped is drawn by different generators, so mergekit is handed our masks.
- SLERP: mergekit turns whole weights, we turn deltas; on a base of zeros these are the same.
- NuSLERP: mergekit has a circle up to nearly parallel deltas, we a straight line beyond a cosine of 0.9995 (1e-4 apart at most).
  Our rows are its `flatten` off; its own `row_wise` turns columns.
- Karcher: mergekit's weights are all alike; it takes 10 steps in its models' precision, here more.
- Model stock: mergekit turns the result round where the deltas are opposed, we leave nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.random_deltas import as_float64, random_factors, relative_error
from tunesmith.fusion.config import DRAWN, ELEMENT_WISE, FusionRules
from tunesmith.fusion.deltas import LowRank, to_dense
from tunesmith.fusion.methods import fuse_deltas

torch = pytest.importorskip("torch", reason="mergekit works on torch's tensors")
pytest.importorskip("mergekit", reason="fusions are compared with mergekit's")

from mergekit.merge_methods.api import merge_tensors  # noqa: E402
from mergekit.merge_methods.generalized_task_arithmetic import GeneralizedTaskArithmeticMerge  # noqa: E402
from mergekit.sparsify import SparsificationMethod  # noqa: E402

Array = np.ndarray[Any, np.dtype[Any]]
SHAPE = (96, 160)
WEIGHTS = [1.0, 0.4, -0.3]
MODULE = "model.layers.0.mlp.up_proj"
# mergekit has the parts of this one, but gives it no name
MAGNITUDE_PRUNE = GeneralizedTaskArithmeticMerge(None, SparsificationMethod.magnitude, False, False, "magnitude_prune", None, None)


def three(shape: tuple[int, int] = SHAPE) -> list[LowRank]:
    """Return three changes that share a part, so that signs agree more often than not."""
    common = random_factors(shape, 4, 100)
    own = [random_factors(shape, 6, seed) for seed in range(3)]
    return [LowRank(np.hstack([common.a, each.a]), np.vstack([common.b, each.b]), 2.0) for each in own]


def theirs(method: Any, deltas: Sequence[Array], with_base: bool = True, **parameters: Any) -> Array:
    tensors = [torch.from_numpy(delta) for delta in deltas]
    if with_base:
        tensors.insert(0, torch.zeros_like(tensors[0]))
    merged = merge_tensors(tensors, method, parameters=parameters, base_index=0 if with_base else None)
    return np.asarray(merged.numpy())


def our_masks(deltas: Sequence[LowRank], rules: FusionRules) -> Iterator[Any]:
    """Yield which values of each delta our fusion keeps: those left of a plain sum in which it alone has a weight."""
    alone = replace(rules, method={"dare_ties": "dare_linear", "della": "della_linear"}.get(rules.method, rules.method), rescale="none")
    for weights in np.eye(len(deltas)):
        yield torch.from_numpy(to_dense(fuse_deltas(MODULE, deltas, weights.tolist(), alone)) != 0).float()


def count_different(found: Array, expected: Array) -> int:
    return int((np.abs(found - expected) > 1e-5 * np.abs(expected).max()).sum())


def both(deltas: list[LowRank], rules: FusionRules, monkeypatch: pytest.MonkeyPatch) -> tuple[Array, Array]:
    """Return the fusion as ours and as mergekit's, with the same masks."""
    ours = to_dense(fuse_deltas(MODULE, deltas, WEIGHTS, rules))
    masks = our_masks(deltas, rules)
    if rules.method in DRAWN:
        monkeypatch.setattr(torch, "bernoulli", lambda _: next(masks))
    extra = {"gamma": rules.gamma} if "breadcrumbs" in rules.method else {"epsilon": rules.epsilon} if "della" in rules.method else {}
    if rules.normalize != "auto":
        extra["normalize"] = rules.normalize == "yes"
    method: Any = MAGNITUDE_PRUNE if rules.method == "magnitude_prune" else rules.method
    dense = [to_dense(delta) for delta in deltas]
    return ours, theirs(method, dense, weight=WEIGHTS, density=rules.density, **extra, **{"lambda": rules.scale})


@pytest.mark.parametrize("density", [0.15, 0.5, 0.85, 1.0])
@pytest.mark.parametrize("method", ELEMENT_WISE)
def test_every_value_by_default(method: str, density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = FusionRules(method, density=density, epsilon=0.1, gamma=0.05, rescale="l1", seed=5)
    ours, expected = both(three(), rules, monkeypatch)
    assert np.abs(expected).max() > 0.05
    assert count_different(ours, expected) == 0


@pytest.mark.parametrize("normalize", ["yes", "no"])
@pytest.mark.parametrize("method", ELEMENT_WISE)
def test_every_value_divided_or_not(method: str, normalize: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = FusionRules(method, density=0.4, gamma=0.02, rescale="l1", normalize=normalize, scale=-1.5)
    assert count_different(*both(three(), rules, monkeypatch)) == 0


@pytest.mark.parametrize("side", [1024, pytest.param(4096, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", ["ties", "dare_ties"])
def test_every_value_of_a_large_module(method: str, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million values and 16.8 million: at most 5 differ, where two are of one size at the edge of what is kept."""
    rules = FusionRules(method, density=0.5, rescale="l1")
    assert count_different(*both(three((side, side)), rules, monkeypatch)) <= 5


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "slerp", "nuslerp", "karcher", "model_stock"])
def test_every_sum(method: str) -> None:
    deltas = three()[: 2 if "slerp" in method else 3]
    weights = [0.6, 0.2, 1.1][: len(deltas)]
    if method == "karcher":
        weights = [1.0] * 3
    dense = [as_float64(delta) for delta in deltas]
    expected = {
        "linear": lambda: theirs("linear", dense, False, weight=weights),
        "task_arithmetic": lambda: theirs("task_arithmetic", dense, weight=weights),
        "slerp": lambda: merge_tensors([torch.from_numpy(d) for d in dense], "slerp", parameters={"t": 0.25}, base_index=0).numpy(),
        "nuslerp": lambda: theirs("nuslerp", dense, weight=weights),
        "karcher": lambda: theirs("karcher", dense, False, max_iter=100, tol=1e-9),
        "model_stock": lambda: theirs("model_stock", dense),
    }[method]()
    ours = fuse_deltas(MODULE, deltas, weights, FusionRules(method))
    assert isinstance(ours, LowRank)
    assert relative_error(to_dense(ours), expected) < 1e-6


def test_rows_turned_each_by_itself() -> None:
    deltas = three()[:2]
    expected = theirs("nuslerp", [as_float64(d) for d in deltas], weight=[0.6, 0.2], nuslerp_flatten=False)
    ours = fuse_deltas(MODULE, deltas, [0.6, 0.2], FusionRules("nuslerp", row_wise=True))
    assert relative_error(to_dense(ours), expected) < 1e-6
