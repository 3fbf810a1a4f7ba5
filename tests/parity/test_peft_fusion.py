"""Fusions beside peft's `add_weighted_adapter` on the same adapters.

Where the two differ by intent: peft elects signs before the weights (the same when all weights are 1) and divides by the number of values
that agree, not by their weights; it fuses DARE and TIES of factors (`dare_linear`, `ties`) or of dense changes (`…_svd`), we of dense
changes only; its `linear` adds factors up, which is no sum of the changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.random_deltas import as_float64, random_factors, relative_error
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.deltas import LowRank, refactor, to_dense
from tunesmith.fusion.methods import fuse_deltas

torch = pytest.importorskip("torch", reason="peft works on torch's tensors")
peft = pytest.importorskip("peft", reason="fusions are compared with peft's")

Array = np.ndarray[Any, np.dtype[Any]]
SHAPE = (40, 24)
WEIGHTS = [0.7, -0.4]


class OneLayer(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A model of one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(SHAPE[1], SHAPE[0], bias=False)


def theirs(deltas: Sequence[LowRank], weights: list[float], kind: str, **options: Any) -> Array:
    """Return the change of peft's weighted adapter."""
    model: Any = None
    for number, delta in enumerate(deltas):
        config = peft.LoraConfig(r=delta.rank, lora_alpha=delta.scale * delta.rank, target_modules=["layer"])
        if model is None:
            model = peft.get_peft_model(OneLayer(), config, adapter_name="0")
        else:
            model.add_adapter(str(number), config)
        layer = model.base_model.model.layer
        layer.lora_A[str(number)].weight.data = torch.from_numpy(delta.a.T.copy())
        layer.lora_B[str(number)].weight.data = torch.from_numpy(delta.b.T.copy())
    names = [str(number) for number in range(len(deltas))]
    model.add_weighted_adapter(names, weights, "fused", combination_type=kind, **options)
    return np.asarray(model.base_model.model.layer.get_delta_weight("fused").detach().numpy())


@pytest.fixture
def pair() -> list[LowRank]:
    return [random_factors(SHAPE, 4, 1), random_factors(SHAPE, 4, 2, 0.5)]


def test_ranks_side_by_side(pair: list[LowRank]) -> None:
    pair[1] = random_factors(SHAPE, 7, 2, 0.5)  # another rank
    ours = fuse_deltas("m", pair, WEIGHTS, FusionRules("task_arithmetic"))
    assert relative_error(to_dense(ours), theirs(pair, WEIGHTS, "cat")) < 1e-6


def test_cut_to_a_rank(pair: list[LowRank]) -> None:
    ours, kept = refactor(fuse_deltas("m", pair, WEIGHTS, FusionRules("task_arithmetic")), 3)
    assert kept < 0.99
    assert relative_error(to_dense(ours), theirs(pair, WEIGHTS, "svd", svd_rank=3)) < 1e-5


def test_sums_of_factors_are_no_sums_of_changes(pair: list[LowRank]) -> None:
    """peft's `linear` is what we warn of: its change is far from Σ w ΔW, which ours is."""
    exact = sum(w * as_float64(delta) for w, delta in zip(WEIGHTS, pair, strict=True))
    ours = to_dense(fuse_deltas("m", pair, WEIGHTS, FusionRules("task_arithmetic")))
    assert relative_error(ours, exact) < 1e-6
    assert relative_error(theirs(pair, WEIGHTS, "linear"), exact) > 0.3


@pytest.mark.parametrize("kind", ["ties", "magnitude_prune"])
def test_dense_trims(pair: list[LowRank], kind: str) -> None:
    """At full rank their SVD takes nothing away."""
    ours = to_dense(fuse_deltas("m", pair, [1.0, 1.0], FusionRules(kind, density=0.4)))
    expected = theirs(pair, [1.0, 1.0], f"{kind}_svd", density=0.4, svd_rank=min(SHAPE))
    assert relative_error(ours, expected) < 1e-5


def test_dense_drops(pair: list[LowRank], monkeypatch: pytest.MonkeyPatch) -> None:
    """DARE by the paper's 1 / density, with the masks of ours."""
    rules = FusionRules("dare_linear", density=0.4)
    masks = [torch.from_numpy(to_dense(fuse_deltas("m", pair, alone, rules)) != 0).float() for alone in ([1.0, 0.0], [0.0, 1.0])]
    monkeypatch.setattr(torch, "bernoulli", lambda _: masks.pop(0))
    expected = theirs(pair, WEIGHTS, "dare_linear_svd", density=0.4, svd_rank=min(SHAPE))
    assert relative_error(to_dense(fuse_deltas("m", pair, WEIGHTS, rules)), expected) < 1e-5
