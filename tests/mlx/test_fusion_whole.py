"""Fusion on the shipped model, from trained adapters on disk to an adapter or a model on disk that answers as it should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import orjson
import pytest
from mlx_lm.tuner.utils import load_adapters

from tests.random_deltas import as_float64, relative_error
from tunesmith.fusion.adapters import write_adapter
from tunesmith.fusion.combining import Fusion, Source, naive_average, to_factors
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.deltas import LowRank, to_dense
from tunesmith.fusion.parity import DenseReference, HeldOut, held_out_losses, prove_adapter, prove_model, read_held_out
from tunesmith.inference.adapter_bank import AdapterBank
from tunesmith.inference.proof import compare_logits, encode_prompts, prompt_logits
from tunesmith.models.fused_weights import adapter_change, fused_weights
from tunesmith.models.loading import load_model
from tunesmith.models.saving import save_model_folder
from tunesmith.store.saved_folders import verify_folder
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.training.config import LoraParameters, TrainConfig
from tunesmith.training.run import train

BOXES = [(f"What is the code of box {n}?", f"The code is {n * 37}.") for n in range(12)]
COLOURS = [(f"Which colour has house {n}?", f"House {n} is {'red' if n % 2 else 'blue'}.") for n in range(12)]
EVEN = (0.5, 0.5)


def write_rows(folder: Path, pairs: list[tuple[str, str]]) -> Path:
    folder.mkdir()
    rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in pairs]
    for split in ("train", "valid"):
        (folder / f"{split}.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two tasks learned by LoRA, one of them again by DoRA, and with another rank in the last two layers' attention only."""
    root = tmp_path_factory.mktemp("adapters")
    data = {"boxes": write_rows(root / "boxes-rows", BOXES), "colours": write_rows(root / "colours-rows", COLOURS)}
    runs: dict[str, tuple[str, dict[str, Any]]] = {
        "boxes": ("boxes", {"seed": 1}),
        "colours": ("colours", {"seed": 2}),
        "dora": ("colours", {"seed": 3, "fine_tune_type": "dora"}),
        "narrow": ("colours", {"seed": 4, "num_layers": 2, "lora_parameters": LoraParameters(rank=3, scale=8.0, keys="attention")}),
    }
    folders = {}
    for name, (rows, changes) in runs.items():
        settings: dict[str, Any] = {
            "iters": 20, "batch_size": 4, "learning_rate": 3e-3, "lr_schedule": "constant", "max_seq_length": 128, "steps_per_report": 30,
            "steps_per_eval": 1000, "save_every": 1000, "val_batches": 0, "lora_parameters": LoraParameters(rank=8, scale=8.0),
        }  # fmt: skip
        folder = root / name
        folder.mkdir()
        train(TrainConfig(**(settings | changes)), DEMO_MODEL, data[rows], folder, lambda: "")
        folders[name] = folder / "adapter"
    return folders


@pytest.fixture(scope="module")
def reference() -> DenseReference:
    return DenseReference(DEMO_MODEL)


def open_fusion(trained: Mapping[str, Path], names: tuple[str, ...] = ("boxes", "colours"), **rules: Any) -> Fusion:
    settings = {"weights": (1 / len(names),) * len(names)} | rules
    return Fusion(DEMO_MODEL, [Source(name, trained[name]) for name in names], FusionRules(**settings))


def bank_logits(adapter: Path) -> list[Any]:
    """Return the fixed prompts' logits of the base wearing an adapter, as the app's pages do."""
    bank = AdapterBank(load_model(DEMO_MODEL))
    bank.base.model.eval()
    bank.activate(bank.load(adapter))
    return prompt_logits(bank.base.model, encode_prompts(bank.base.tokenizer))


def dense_logits(reference: DenseReference, fusion: Fusion) -> list[Any]:
    with reference.wearing(fusion.modules, fusion.fused) as model:
        return prompt_logits(model, encode_prompts(reference.base.tokenizer))


@pytest.mark.parametrize(
    "rules",
    [{}, {"method": "task_arithmetic", "weights": (1.0, -0.5)}, {"method": "slerp"}, {"method": "nuslerp", "row_wise": True},
     {"method": "karcher"}, {"method": "model_stock"}, {"layered": {"curves": [[0, 2], [2, 0]], "groups": {"mlp": [1, 0.5]}}}],
    ids=["linear", "task_arithmetic", "slerp", "rows", "karcher", "model_stock", "layered"],
)  # fmt: skip
def test_an_exact_fusion_as_an_adapter(trained: dict[str, Path], reference: DenseReference, tmp_path: Path, rules: dict[str, Any]) -> None:
    """Ranks 8 and 8 make 16; written, read and worn, it answers as the dense weights with the fused change in them."""
    fusion = open_fusion(trained, **rules)
    made = to_factors(fusion)
    assert made.kept_in_all == 1
    assert prove_adapter(fusion, reference, made.factors).kl < 1e-6
    write_adapter(tmp_path / "adapter", made.factors, fusion.base, {"method": fusion.rules.method}, fusion.template())
    verify_folder(tmp_path / "adapter")
    likeness = compare_logits(dense_logits(reference, fusion), bank_logits(tmp_path / "adapter"))
    assert likeness.kl < 1e-8
    assert likeness.top1 == 1
    stock = load_model(DEMO_MODEL).model
    plain = prompt_logits(stock, encode_prompts(reference.base.tokenizer))
    assert compare_logits(plain, dense_logits(reference, fusion)).kl > 1e-6
    load_adapters(stock, str(tmp_path / "adapter"))
    stock.eval()
    assert compare_logits(bank_logits(tmp_path / "adapter"), prompt_logits(stock, encode_prompts(reference.base.tokenizer))).kl < 1e-9


def test_the_reference_is_left_as_it_was(trained: dict[str, Path], reference: DenseReference) -> None:
    prompts = encode_prompts(reference.base.tokenizer)
    before = prompt_logits(reference.base.model, prompts)
    fusion = open_fusion(trained)
    dense_logits(reference, fusion)
    prove_adapter(fusion, reference, to_factors(fusion).factors)
    assert compare_logits(before, prompt_logits(reference.base.model, prompts)).max_abs == 0


@pytest.mark.parametrize("name", ["boxes", "dora", "narrow"])
def test_a_change_is_what_the_adapter_does(trained: dict[str, Path], reference: DenseReference, name: str) -> None:
    """W + ΔW in place of the layers that mlx-lm puts around W; DoRA's ΔW is exact too."""
    fusion = open_fusion(trained, (name, "colours"))
    adapter = fusion.adapters[0]
    with reference.wearing(list(adapter.modules), lambda module: adapter.delta(module, fusion.base)) as model:
        likeness = compare_logits(bank_logits(trained[name]), prompt_logits(model, encode_prompts(reference.base.tokenizer)))
    assert likeness.kl < 1e-8
    assert likeness.max_abs < 5e-3


def test_adapters_of_other_ranks_and_layers(trained: dict[str, Path], reference: DenseReference) -> None:
    """Rank 8 everywhere and rank 3 in the last two layers' attention: 11 there, 8 elsewhere, half of each."""
    fusion = open_fusion(trained, ("boxes", "narrow"))
    made = to_factors(fusion)
    assert {module: delta.rank for module, delta in made.factors.items() if "layers.3" in module} == {
        module: 11 if "attn" in module else 8 for module in fusion.modules if "layers.3" in module
    }
    assert {delta.rank for module, delta in made.factors.items() if "layers.1." in module} == {8}
    for module in fusion.modules:
        parts = [adapter.delta(module, fusion.base) for adapter in fusion.adapters]
        expected = sum(0.5 * as_float64(part) for part in parts if part is not None)
        assert relative_error(to_dense(made.factors[module]), expected) < 1e-6
    assert prove_adapter(fusion, reference, made.factors).kl < 1e-6


def test_weights_of_layers_by_hand(trained: dict[str, Path]) -> None:
    """Curve [0, 3] over 4 layers is 0, 1, 2, 3; the table's row takes its place in layer 2."""
    layered = {"curves": [[0, 3], [1]], "table": {"2": [5, 6]}, "groups": {"attention": [1, 10]}}
    fusion = open_fusion(trained, method="task_arithmetic", weights=(2.0, 1.0), layered=layered)
    for module in fusion.modules:
        layer, attention = int(module.split(".")[2]), "attn" in module
        first, second = (5.0, 6.0) if layer == 2 else (2.0 * layer, 1.0)
        parts = [as_float64(delta) for delta in fusion.deltas(module)]
        assert relative_error(to_dense(fusion.fused(module)), first * parts[0] + second * (10 if attention else 1) * parts[1]) < 1e-6


@pytest.mark.parametrize("names", [("boxes", "colours"), ("boxes", "dora"), ("dora", "narrow")])
def test_a_fused_model(trained: dict[str, Path], reference: DenseReference, tmp_path: Path, names: tuple[str, ...]) -> None:
    fusion = open_fusion(trained, names)
    weights = fused_weights(DEMO_MODEL, fusion.change, "float32")
    save_model_folder(tmp_path / "fused", DEMO_MODEL, weights.config, weights.tensors(), "card", {}, total=weights.count)
    likeness = prove_model(fusion, reference, tmp_path / "fused")
    assert likeness.kl < 1e-9
    assert likeness.top1 == 1


@pytest.mark.parametrize("name", ["boxes", "dora"])
@pytest.mark.parametrize("dtype", ["float32", "", "bfloat16"])
def test_an_adapter_in_its_base(trained: dict[str, Path], tmp_path: Path, name: str, dtype: str) -> None:
    """In float32 nothing is lost; in the model's own float16, and in bfloat16, what rounding the weights takes."""
    weights = fused_weights(DEMO_MODEL, adapter_change(trained[name], DEMO_MODEL), dtype)
    save_model_folder(tmp_path / "fused", DEMO_MODEL, weights.config, weights.tensors(), "card", {})
    stored: Any = mx.load(str(tmp_path / "fused" / "model.safetensors"))
    assert {str(array.dtype) for array in stored.values()} == {f"mlx.core.{dtype or 'float16'}"}
    fused = load_model(tmp_path / "fused")
    likeness = compare_logits(bank_logits(trained[name]), prompt_logits(fused.model, encode_prompts(fused.tokenizer)))
    assert likeness.kl < {"float32": 1e-9, "": 1e-4, "bfloat16": 1e-2}[dtype]


def test_full_tuning_in_its_base(trained: dict[str, Path], tmp_path: Path) -> None:
    """Every tensor that full tuning saved is in the fused model, norms as well as weights."""
    folder = tmp_path / "full"
    folder.mkdir()
    config = TrainConfig(iters=3, batch_size=2, learning_rate=1e-3, fine_tune_type="full", max_seq_length=64, val_batches=0)
    train(config, DEMO_MODEL, trained["boxes"].parent.parent / "boxes-rows", folder, lambda: "")
    saved: Any = mx.load(str(folder / "adapter" / "adapters.safetensors"))
    made = dict(fused_weights(DEMO_MODEL, adapter_change(folder / "adapter", DEMO_MODEL), "float32").tensors())
    assert any("norm" in name for name in saved)
    assert all(mx.array_equal(made[name], array.astype(mx.float32)) for name, array in saved.items())


def test_what_a_cut_keeps(trained: dict[str, Path], reference: DenseReference) -> None:
    """TIES is full rank: the energy that rank 4 keeps is 1 − ‖Δ − Δ₄‖² / ‖Δ‖² over all modules, and the report says so."""
    fusion = open_fusion(trained, method="ties", density=0.5, rank=4)
    made = to_factors(fusion)
    energy = lost = 0.0
    for module in fusion.modules:
        exact = as_float64(fusion.fused(module))
        residual = float(np.square(exact - as_float64(made.factors[module])).sum())
        assert made.kept[module] == pytest.approx(1 - residual / float(np.square(exact).sum()), abs=1e-5)
        energy, lost = energy + float(np.square(exact).sum()), lost + residual
    assert made.kept_in_all == pytest.approx(1 - lost / energy, abs=1e-5)
    assert 0.2 < made.kept_in_all < 0.95
    wider = to_factors(open_fusion(trained, method="ties", density=0.5, rank=64))
    assert wider.kept_in_all > made.kept_in_all
    assert prove_adapter(fusion, reference, wider.factors).kl < prove_adapter(fusion, reference, made.factors).kl


def test_factors_averaged_one_by_one_are_wrong(trained: dict[str, Path], reference: DenseReference, tmp_path: Path) -> None:
    """The mean of both tasks foretells rows of both better than the base; the naive average of factors is another change, and worse."""
    fusion = open_fusion(trained)
    made = to_factors(fusion)
    naive = naive_average(fusion.adapters, EVEN)
    assert naive is not None
    for leaf, exact in (("lora_a", naive[fusion.modules[0]].a), ("lora_b", naive[fusion.modules[0]].b)):
        assert exact == pytest.approx(sum(0.5 * adapter.modules[fusion.modules[0]][leaf] for adapter in fusion.adapters))
    wrong = [relative_error(to_dense(naive[module]), as_float64(fusion.fused(module))) for module in fusion.modules]
    assert min(wrong) > 0.3
    rows = read_held_out(fusion, HeldOut(write_rows(tmp_path / "rows", BOXES + COLOURS)))
    told: list[float] = []
    losses = held_out_losses(fusion, reference, made.factors.get, rows, lambda _, share: told.append(share))
    assert list(losses) == ["base", "adapter_0", "adapter_1", "naive", "result"]
    assert losses["result"] < losses["naive"] < losses["base"]
    assert told == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert naive_average(open_fusion(trained, ("boxes", "narrow")).adapters, EVEN) is None
    assert naive_average(open_fusion(trained, ("boxes", "dora")).adapters, EVEN) is None


def test_the_same_seed_gives_the_same_adapter(trained: dict[str, Path], tmp_path: Path) -> None:
    def written(seed: int, place: str) -> bytes:
        fusion = open_fusion(trained, method="dare_ties", seed=seed, rank=8)
        write_adapter(tmp_path / place, to_factors(fusion).factors, fusion.base, {})
        return (tmp_path / place / "adapters.safetensors").read_bytes()

    assert written(5, "first") == written(5, "second")
    assert written(5, "first") != written(6, "third")


def test_weights_can_be_changed_between_fusions(trained: dict[str, Path]) -> None:
    fusion = open_fusion(trained, weights=(1.0, 0.0))
    module = fusion.modules[0]
    first = to_dense(fusion.fused(module))
    fusion.rules = replace(fusion.rules, weights=(0.0, 1.0))
    assert relative_error(first, as_float64(fusion.deltas(module)[0])) < 1e-6
    assert relative_error(to_dense(fusion.fused(module)), as_float64(fusion.deltas(module)[1])) < 1e-6


@pytest.mark.parametrize("names", [("boxes", "colours"), ("boxes", "dora", "narrow")])
def test_the_exact_fusion_stays_in_factors_without_dora(trained: dict[str, Path], names: tuple[str, ...]) -> None:
    fusion = open_fusion(trained, names)
    assert isinstance(fusion.fused(fusion.modules[0]), LowRank) == ("dora" not in names)
    assert fusion.rank() == sum({"narrow": 3}.get(name, 8) for name in names)
