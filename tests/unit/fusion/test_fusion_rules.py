"""What a fusion refuses and by which code, and weights that differ from layer to layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.random_deltas import as_float64, random_factors, relative_error
from tunesmith.errors import UserError
from tunesmith.fusion.config import CRUMBS, DRAWN, ELEMENT_WISE, SUMS, TRIMMED, FusionRules
from tunesmith.fusion.deltas import LowRank, to_dense, zero
from tunesmith.fusion.layered import check_layered, group_of, value_at, weights_for
from tunesmith.fusion.methods import METHODS, check_rules, fuse_deltas
from tunesmith.models.module_names import layer_of, short_name
from tunesmith.settings.files import from_mapping

QUERY, DOWN = "model.layers.2.self_attn.q_proj", "model.layers.0.mlp.down_proj"


def test_every_method_is_in_one_table() -> None:
    """The groups that the form shows settings by, against the table's own switches."""
    assert set(METHODS) == {*SUMS, *ELEMENT_WISE}
    assert {name for name, method in METHODS.items() if method.exact} == set(SUMS)
    by_sparsifier = {kind: {n for n, m in METHODS.items() if m.sparsifier in kinds} for kind, kinds in {
        TRIMMED: {"magnitude"}, DRAWN: {"random", "rank"}, CRUMBS: {"outliers"},
    }.items()}  # fmt: skip
    assert all(set(names) == found for names, found in by_sparsifier.items())
    assert from_mapping(FusionRules, {"method": "ties"}).method == "ties"


@pytest.mark.parametrize(
    ("rules", "count", "code"),
    [
        ({"weights": (1.0,)}, 1, "fusion_needs_two"),
        ({"method": "slerp", "weights": (1.0,) * 3}, 3, "fusion_too_many"),
        ({"weights": (1.0,)}, 2, "fusion_weights_count"),
        ({"weights": (1.0, float("nan"))}, 2, "fusion_weights_not_finite"),
        ({"method": "della", "weights": (1.0, 1.0), "density": 0.1, "epsilon": 0.1}, 2, "fusion_epsilon_too_large"),
        ({"method": "della_linear", "weights": (1.0, 1.0), "density": 0.95, "epsilon": 0.1}, 2, "fusion_epsilon_too_large"),
        ({"method": "breadcrumbs", "weights": (1.0, 1.0), "density": 0.9, "gamma": 0.2}, 2, "fusion_gamma_too_large"),
    ],
)
def test_rules_that_do_not_fit(rules: dict[str, Any], count: int, code: str) -> None:
    with pytest.raises(UserError) as caught:
        check_rules(FusionRules(**rules), count)
    assert caught.value.code == code


@pytest.mark.parametrize("method", METHODS)
def test_rules_as_they_are_fit(method: str) -> None:
    check_rules(FusionRules(method, weights=(1.0, 1.0)), 2)
    check_rules(FusionRules(method, weights=(1.0, 1.0), density=1.0), 2)


@pytest.mark.parametrize("rules", [FusionRules("linear"), FusionRules("slerp"), FusionRules("dare_linear", normalize="yes")])
def test_weights_that_cancel_out(rules: FusionRules) -> None:
    deltas = [random_factors((8, 8), 2, seed) for seed in range(2)]
    with pytest.raises(UserError) as caught:
        fuse_deltas("m", deltas, [1.0, -1.0], rules)
    assert caught.value.code == "fusion_weights_cancel"


@pytest.mark.parametrize("method", SUMS)
def test_sums_are_exact_with_gaps(method: str) -> None:
    """An adapter without this module counts as a change by nothing; ranks differ; the result is scaled."""
    shape = (24, 36)
    deltas: list[LowRank] = [random_factors(shape, 3, 1), zero(shape)]
    fused = fuse_deltas("m", deltas, [1.0, 3.0], FusionRules(method, scale=2.0))
    share = {"linear": 0.25, "task_arithmetic": 1.0, "slerp": 0.25, "nuslerp": 0.25, "karcher": 1.0, "model_stock": 1.0}[method]
    assert isinstance(fused, LowRank)
    assert relative_error(to_dense(fused), 2 * share * as_float64(deltas[0])) < 1e-6


def test_rows_turned_each_by_itself() -> None:
    """NuSLERP row by row: every output row is as far between its two as if it were alone."""
    pair = [random_factors((12, 20), 4, seed) for seed in range(2)]
    found = to_dense(fuse_deltas("m", pair, [1.0, 2.0], FusionRules("nuslerp", row_wise=True)))
    for number in range(12):
        rows = np.stack([as_float64(delta)[number] for delta in pair])
        alone = METHODS["slerp"].coefficients
        assert alone is not None
        assert found[number] == pytest.approx(alone(rows @ rows.T, np.array([1.0, 2.0])) @ rows, abs=1e-6)
    whole = to_dense(fuse_deltas("m", pair, [1.0, 2.0], FusionRules("nuslerp")))
    assert relative_error(found, whole) > 1e-3


@pytest.mark.parametrize(
    ("name", "layer", "short", "group"),
    [
        (QUERY, 2, "self_attn.q_proj", "attention"),
        ("transformer.h.11.attn.c_attn", 11, "attn.c_attn", "attention"),
        (DOWN, 0, "mlp.down_proj", "mlp"),
        ("model.layers.3.block_sparse_moe.gate", 3, "block_sparse_moe.gate", "other"),
        ("lm_head", None, "lm_head", "other"),
    ],
)
def test_names_of_modules(name: str, layer: int | None, short: str, group: str) -> None:
    assert (layer_of(name), short_name(name), group_of(name)) == (layer, short, group)


def test_curves_run_from_the_first_layer_to_the_last() -> None:
    """[0, 1, 0] over 5 layers: 0, ½, 1, ½, 0. One value is the same everywhere."""
    assert [value_at([0, 1, 0], layer, 5) for layer in range(5)] == [0, 0.5, 1, 0.5, 0]
    assert [value_at([0.7], layer, 5) for layer in (0, 4)] == [0.7, 0.7]
    assert value_at([0.2, 0.9], 0, 1) == 0.2


def test_weights_of_a_module_by_hand() -> None:
    """Layer 2 of 5 is the middle: weights (2, 4) × curves (½, 1) × the attention's (10, 1). The table takes the curves' place."""
    layered: dict[str, Any] = {"curves": [[0, 1], [1]], "groups": {"attention": [10, 1]}, "table": {"0": [7, 8]}}
    check_layered(layered, 2, 5)
    assert weights_for(QUERY, (2.0, 4.0), layered, 5) == [10.0, 4.0]
    assert weights_for(DOWN, (2.0, 4.0), layered, 5) == [7.0, 8.0]
    assert weights_for("lm_head", (2.0, 4.0), layered, 5) == [2.0, 4.0]
    assert weights_for(QUERY, (2.0, 4.0), {}, 5) == [2.0, 4.0]


@pytest.mark.parametrize(
    ("layered", "code", "part"),
    [
        ({"curve": []}, "fusion_layered_unknown", "curve"),
        ({"groups": {"heads": [1, 1]}}, "fusion_layered_unknown", "groups.heads"),
        ({"table": {"5": [1, 1]}}, "fusion_layered_unknown", "table.5"),
        ({"table": {"-1": [1, 1]}}, "fusion_layered_unknown", "table.-1"),
        ({"curves": [[1]]}, "fusion_layered_count", "curves"),
        ({"curves": [[1], []]}, "fusion_layered_count", "curves"),
        ({"groups": {"mlp": [1]}}, "fusion_layered_count", "groups.mlp"),
        ({"table": {"0": [1, 1, 1]}}, "fusion_layered_count", "table.0"),
        ({"curves": [[1], ["a"]]}, "fusion_layered_number", "curves.2"),
        ({"groups": {"mlp": [1, float("inf")]}}, "fusion_layered_number", "groups.mlp"),
    ],
)
def test_weights_of_layers_that_do_not_fit(layered: dict[str, Any], code: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        check_layered(layered, 2, 5)
    assert (caught.value.code, caught.value.facts["part"]) == (code, part)
