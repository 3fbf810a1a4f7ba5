"""Adapter folders that a fusion reads and writes: precisions, refusals; model folders as they are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import orjson
import pytest

from tests.random_deltas import as_float64, random_factors
from tunesmith.errors import UserError
from tunesmith.fusion.adapters import AdapterFactors, all_modules, read_factors, write_adapter
from tunesmith.fusion.combining import Fusion, Source
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.deltas import LowRank, to_dense, zero
from tunesmith.models import saving
from tunesmith.models.adapter_files import CONFIG, WEIGHTS
from tunesmith.models.cards import model_card
from tunesmith.models.fused_weights import fused_weights
from tunesmith.models.loading import load_model
from tunesmith.models.saving import save_model_folder
from tunesmith.models.weights import BaseWeights
from tunesmith.system.paths import DEMO_MODEL

QUERY, DOWN = "model.layers.3.self_attn.q_proj", "model.layers.0.mlp.down_proj"
Arrays = dict[str, mx.array]


@pytest.fixture(scope="module")
def weights() -> BaseWeights:
    return BaseWeights(DEMO_MODEL)


@pytest.fixture
def adapter(tmp_path: Path, weights: BaseWeights) -> Path:
    """An adapter of two modules, of ranks 4 and 2."""
    factors = {name: random_factors(weights.shape(name) or (0, 0), rank, rank) for name, rank in ((QUERY, 4), (DOWN, 2))}
    write_adapter(tmp_path / "adapter", factors, weights, {"from": ["a", "b"]}, "{{ messages }}")
    return tmp_path / "adapter"


def read(folder: Path, weights: BaseWeights) -> AdapterFactors:
    return read_factors(folder, "one", weights)


def change(folder: Path, config: dict[str, Any] | None = None, arrays: Callable[[Arrays], Arrays] = lambda a: a) -> None:
    """Write an adapter anew with another config or other arrays."""
    found = orjson.loads((folder / CONFIG).read_bytes())
    (folder / CONFIG).write_bytes(orjson.dumps(found | (config or {})))
    loaded: Any = mx.load(str(folder / WEIGHTS))
    mx.eval(loaded)
    mx.save_safetensors(str(folder / WEIGHTS), arrays(dict(loaded)))


def test_what_was_written_is_read(adapter: Path, weights: BaseWeights) -> None:
    """The larger rank is the adapter's; the smaller is filled with zeros, and the scale is in the factors."""
    found = read(adapter, weights)
    assert (found.rank, found.found.scale, found.found.kind, found.found.template) == (4, 1.0, "lora", "{{ messages }}")
    assert all_modules([found]) == [DOWN, QUERY]
    for name, rank in ((QUERY, 4), (DOWN, 2)):
        delta = found.delta(name, weights)
        assert delta is not None
        expected = as_float64(random_factors(weights.shape(name) or (0, 0), rank, rank))
        assert np.abs(to_dense(delta) - expected).max() < 1e-6 * np.abs(expected).max()
    assert found.delta("lm_head", weights) is None
    config = orjson.loads((adapter / CONFIG).read_bytes())
    assert config["num_layers"] == 4
    assert config["lora_parameters"]["keys"] == ["mlp.down_proj", "self_attn.q_proj"]
    assert orjson.loads((adapter / "fusion.json").read_bytes()) == {"from": ["a", "b"]}


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_is_read_as_it_is(adapter: Path, weights: BaseWeights, dtype: mx.Dtype) -> None:
    exact = read(adapter, weights)
    change(adapter, arrays=lambda arrays: {name: array.astype(dtype) for name, array in arrays.items()})
    found = read(adapter, weights)
    rounded = mx.array(exact.modules[QUERY]["lora_a"]).astype(dtype).astype(mx.float32)
    assert np.array_equal(found.modules[QUERY]["lora_a"], np.array(rounded))
    assert found.modules[QUERY]["lora_a"].dtype == np.float32


def test_a_fusion_of_nothing_is_an_adapter_of_rank_one(tmp_path: Path, weights: BaseWeights) -> None:
    write_adapter(tmp_path / "none", {QUERY: zero(weights.shape(QUERY) or (0, 0))}, weights, {})
    delta = read(tmp_path / "none", weights).delta(QUERY, weights)
    assert isinstance(delta, LowRank)
    assert delta.rank == 1
    assert not to_dense(delta).any()


def poison(arrays: Arrays) -> Arrays:
    return arrays | {f"{QUERY}.lora_b": arrays[f"{QUERY}.lora_b"] * float("nan")}


REFUSED: dict[str, tuple[dict[str, Any], Callable[[Arrays], Arrays], str]] = {
    "full tuning": ({"fine_tune_type": "full"}, lambda a: a, "adapter_kind_unsupported"),
    "another base": ({"base_model_hash": "f" * 64}, lambda a: a, "adapter_wrong_base"),
    "a word for a scale": ({"lora_parameters": {"scale": "large"}}, lambda a: a, "adapter_file_broken"),
    "nothing": ({}, lambda _: {"x": mx.zeros(1)}, "adapter_unknown_keys"),
    "a magnitude in lora": ({}, lambda a: a | {f"{QUERY}.m": mx.zeros(256)}, "adapter_unknown_keys"),
    "dora without magnitudes": ({"fine_tune_type": "dora"}, lambda a: a, "adapter_unknown_keys"),
    "half a pair": ({}, lambda a: {k: v for k, v in a.items() if k != f"{QUERY}.lora_b"}, "adapter_unknown_keys"),
    "not a number": ({}, poison, "adapter_not_finite"),
    "experts": ({}, lambda a: a | {f"{QUERY}.lora_a": mx.zeros((2, 256, 4))}, "adapter_of_experts"),
    "a row": ({}, lambda a: a | {f"{QUERY}.lora_a": mx.zeros((4,))}, "adapter_does_not_fit"),
    "other width": ({}, lambda a: a | {f"{QUERY}.lora_a": mx.zeros((255, 4))}, "adapter_does_not_fit"),
    "ranks that differ": ({}, lambda a: a | {f"{QUERY}.lora_a": mx.zeros((256, 3))}, "adapter_does_not_fit"),
    "no such module": ({}, lambda a: {k.replace("layers.3", "layers.9"): v for k, v in a.items()}, "adapter_does_not_fit"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_adapters_that_are_refused(adapter: Path, weights: BaseWeights, case: str) -> None:
    config, arrays, code = REFUSED[case]
    change(adapter, config, arrays)
    with pytest.raises(UserError) as caught:
        read(adapter, weights)
    assert caught.value.code == code


def test_rank_zero_is_refused(adapter: Path, weights: BaseWeights) -> None:
    empty = {f"{QUERY}.lora_a": np.zeros((256, 0), np.float32), f"{QUERY}.lora_b": np.zeros((0, 256), np.float32)}
    from safetensors.numpy import save_file

    save_file(empty, str(adapter / WEIGHTS))
    with pytest.raises(UserError) as caught:
        read(adapter, weights)
    assert caught.value.code in {"adapter_rank_zero", "adapter_file_broken"}


def test_adapters_that_are_not_there(tmp_path: Path, weights: BaseWeights) -> None:
    with pytest.raises(UserError) as caught:
        Fusion(DEMO_MODEL, [Source("one", tmp_path), Source("two", tmp_path)], FusionRules())
    assert caught.value.code == "adapter_missing"


def test_a_weight_is_read_once_for_all_adapters(weights: BaseWeights) -> None:
    assert weights.read(QUERY) is weights.read(QUERY)
    assert weights.read(QUERY).shape == weights.shape(QUERY)
    stored: Any = mx.load(str(DEMO_MODEL / "model.safetensors"))
    for name in (QUERY, DOWN, QUERY):
        assert np.array_equal(weights.read(name), np.array(stored[f"{name}.weight"].astype(mx.float32)))
    assert weights.shape("model.embed_tokens") is None


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def written(name: str = "made", **options: Any) -> Path:
        made = fused_weights(DEMO_MODEL)
        tensors = options.pop("tensors", made.tensors())
        save_model_folder(tmp_path / name, DEMO_MODEL, made.config, tensors, "card", {"from": "demo"}, total=made.count, **options)
        return tmp_path / name

    return written


def test_a_model_folder_in_shards(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 1 MB and the index that tells which tensor is where; the model is the one it came from."""
    monkeypatch.setattr(saving, "SHARD_BYTES", 1_000_000)
    told: list[float] = []
    folder = save(report=told.append, template="{{ messages[0]['content'] }}")
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    assert shards[0] == f"model-00001-of-{len(shards):05d}.safetensors"
    assert len(shards) > 3
    index = orjson.loads((folder / "model.safetensors.index.json").read_bytes())
    assert set(index["weight_map"].values()) == set(shards)
    assert told[-1] == 1
    assert told == sorted(told)
    made, source = load_model(folder), load_model(DEMO_MODEL)
    assert mx.array_equal(made.model(mx.array([[5, 9, 300]])), source.model(mx.array([[5, 9, 300]])))
    assert made.tokenizer.chat_template == "{{ messages[0]['content'] }}"
    assert orjson.loads((folder / "tunesmith.json").read_bytes()) == {"from": "demo"}
    assert (folder / "README.md").read_text(encoding="utf-8") == "card"


def test_a_model_folder_is_whole_or_not_there(save: Callable[..., Path]) -> None:
    def breaking() -> Any:
        yield "a", mx.zeros(3)
        raise UserError("adapter_wrong_base", adapter="a", made_for="b", model="c")

    with pytest.raises(UserError):
        save("broken", tensors=breaking())
    folder = save("whole")
    assert {path.name for path in folder.parent.iterdir() if "broken" in path.name} == set()
    with pytest.raises(UserError) as caught:
        save("whole")
    assert caught.value.code == "target_exists"


def test_a_card_tells_where_a_model_comes_from() -> None:
    card = model_card("mine", {"model": "demo", "adapters": [{"name": "a|b", "weight": 0.5}], "nothing": None})
    assert card.startswith("---\nbase_model: demo\n")
    assert "| adapters | name: a\\|b; weight: 0.5 |" in card
    assert "nothing" not in card
