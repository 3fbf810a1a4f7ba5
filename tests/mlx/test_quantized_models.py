"""Models in fewer bits: what each format costs the shipped model, measured; bases and adapters of such."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlx.core as mx
import orjson
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models import gpt2

from tests.random_deltas import random_factors
from tunesmith.errors import UserError
from tunesmith.export import quantized
from tunesmith.export.config import FIXED_SHAPES, QuantizeRules
from tunesmith.export.quantized import QuantizationReport, check_quantize_rules, measure_quantization, quantize_folder
from tunesmith.fusion.adapters import write_adapter
from tunesmith.fusion.combining import Fusion, Source, to_factors
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.parity import DenseReference, prove_adapter, prove_model
from tunesmith.models.fused_weights import fused_weights
from tunesmith.models.loading import load_model
from tunesmith.models.saving import save_model_folder
from tunesmith.models.weights import BaseWeights, dense_weight
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.system.progress import silent

QUERY, DOWN = "model.layers.3.self_attn.q_proj", "model.layers.0.mlp.down_proj"
FORMATS = [
    *(QuantizeRules(bits=bits) for bits in (2, 3, 4, 5, 6, 8)), *(QuantizeRules(mode=mode) for mode in FIXED_SHAPES),
    QuantizeRules(recipe="mixed_3_6"), QuantizeRules(bits=4, group_size=32),
]  # fmt: skip


def name_of(rules: QuantizeRules) -> str:
    return rules.recipe if rules.recipe != "none" else rules.mode if rules.mode != "affine" else f"affine-{rules.bits}-{rules.group_size}"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    (folder / "valid.jsonl").write_bytes(
        b"\n".join(orjson.dumps({"text": f"The sea is blue, and {n} plus 1 is {n + 1}."}) for n in range(3))
    )
    return folder


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, rows: Path) -> dict[str, QuantizationReport]:
    """Every format's folder, written and measured."""
    root, found = tmp_path_factory.mktemp("quantized"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantized, "SPEED_TOKENS", 8)
        for rules in FORMATS:
            quantize_folder(DEMO_MODEL, root / name_of(rules), rules, "card", {}, silent)
            found[name_of(rules)] = measure_quantization(DEMO_MODEL, root / name_of(rules), rows, silent)
    return found


@pytest.mark.parametrize("rules", FORMATS, ids=name_of)
def test_what_each_format_costs(reports: dict[str, QuantizationReport], rules: QuantizeRules) -> None:
    """Smaller than float16, not the same model, and not another one; its perplexity changes by little but for 2 bits."""
    report = reports[name_of(rules)]
    assert report.size_bytes < 0.75 * report.size_bytes_before
    assert 0 < report.kl < 2
    assert report.tokens_per_second > 0
    assert report.perplexity is not None
    assert report.perplexity_before is not None
    assert 0.5 < report.perplexity / report.perplexity_before < (2 if rules.bits > 2 else 20)


def test_fewer_bits_cost_more(reports: dict[str, QuantizationReport]) -> None:
    by_bits = [reports[f"affine-{bits}-64"] for bits in (8, 6, 5, 4, 3, 2)]
    assert [report.kl for report in by_bits] == sorted(report.kl for report in by_bits)
    assert [report.size_bytes for report in by_bits] == sorted((report.size_bytes for report in by_bits), reverse=True)
    assert by_bits[0].kl < 1e-3
    assert by_bits[0].top1 > 0.97
    assert reports["mxfp8"].kl < reports["mxfp4"].kl
    assert by_bits[5].kl > reports["mixed_3_6"].kl > by_bits[1].kl
    assert by_bits[3].kl > reports["affine-4-32"].kl
    assert by_bits[4].size_bytes < reports["mixed_3_6"].size_bytes < by_bits[1].size_bytes


def test_the_config_tells_the_format(tmp_path: Path) -> None:
    """The mixed recipe names the bits of each layer; what is written is what mlx-lm loads."""
    quantize_folder(DEMO_MODEL, tmp_path / "mixed", QuantizeRules(recipe="mixed_4_6"), "card", {"made": "here"}, silent)
    config = orjson.loads((tmp_path / "mixed" / "config.json").read_bytes())
    bits = {name: entry["bits"] for name, entry in config["quantization"].items() if isinstance(entry, dict)}
    assert set(bits.values()) == {4, 6}
    model = load_model(tmp_path / "mixed").model
    assert model.layers[0].mlp.gate_proj.bits == bits["model.layers.0.mlp.gate_proj"] == 4
    assert orjson.loads((tmp_path / "mixed" / "tunesmith.json").read_bytes()) == {"made": "here"}


@pytest.mark.parametrize("mode", ["affine", "mxfp4"])
def test_a_quantised_model_is_made_dense_first(tmp_path: Path, mode: str) -> None:
    """8 bits of a model in 4 bits are that model, not the one before it."""
    quantize_folder(DEMO_MODEL, tmp_path / "four", QuantizeRules(mode=mode), "card", {}, silent)
    quantize_folder(tmp_path / "four", tmp_path / "eight", QuantizeRules(bits=8, group_size=32), "card", {}, silent)
    nearer = measure_quantization(tmp_path / "four", tmp_path / "eight", None, silent)
    farther = measure_quantization(DEMO_MODEL, tmp_path / "eight", None, silent)
    assert nearer.kl < 0.1 * farther.kl
    assert nearer.perplexity is None


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        (QuantizeRules(bits=7), "setting_choice"),
        (QuantizeRules(group_size=48), "setting_choice"),
        (QuantizeRules(mode="mxfp4", recipe="mixed_3_6"), "recipe_needs_affine"),
    ],
)
def test_formats_that_there_are_not(rules: QuantizeRules, code: str) -> None:
    with pytest.raises(UserError) as caught:
        check_quantize_rules(rules)
    assert caught.value.code == code


@pytest.fixture
def other_layers(tmp_path: Path) -> Path:
    """A GPT-2 of one block, 40 wide: its layers have other names, and no width divides by 64."""
    sizes = {"n_ctx": 64, "n_embd": 40, "n_head": 2, "n_layer": 1, "n_positions": 64, "layer_norm_epsilon": 1e-5, "vocab_size": 1024}
    folder = tmp_path / "gpt2"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(DEMO_MODEL / name, folder / name)
    (folder / "config.json").write_bytes(orjson.dumps(sizes | {"model_type": "gpt2"}))
    model = gpt2.Model(gpt2.ModelArgs(model_type="gpt2", **sizes))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), metadata={"format": "mlx"})
    return folder


@pytest.mark.parametrize(
    ("rules", "code"),
    [(QuantizeRules(), "model_cannot_be_quantized"), (QuantizeRules(recipe="mixed_3_6"), "recipe_needs_known_layers")],
)
def test_models_that_a_format_does_not_fit(other_layers: Path, tmp_path: Path, rules: QuantizeRules, code: str) -> None:
    with pytest.raises(UserError) as caught:
        quantize_folder(other_layers, tmp_path / "made", rules, "card", {}, silent)
    assert caught.value.code == code, str(caught.value)
    assert not (tmp_path / "made").exists()


@pytest.fixture(params=["affine", "mxfp4"])
def four_bits(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    quantize_folder(DEMO_MODEL, tmp_path / "base", QuantizeRules(mode=request.param), "card", {}, silent)
    return tmp_path / "base"


def test_a_quantised_weight_is_read_dense(four_bits: Path) -> None:
    weights = BaseWeights(four_bits)
    module = load_model(four_bits).model.layers[3].self_attn.q_proj
    assert weights.shape(QUERY) == BaseWeights(DEMO_MODEL).shape(QUERY)
    assert mx.abs(mx.array(weights.read(QUERY)) - dense_weight(module)).max() < 1e-3


def test_fusion_on_a_quantised_base(four_bits: Path, tmp_path: Path) -> None:
    """The fused adapter is exact beside the dense reference of that base, and so is the model, which is dense."""
    weights = BaseWeights(four_bits)
    sources = []
    for seed in range(2):
        factors = {name: random_factors(weights.shape(name) or (0, 0), 4, seed, 0.5) for name in (QUERY, DOWN)}
        write_adapter(tmp_path / str(seed), factors, weights, {})
        sources.append(Source(str(seed), tmp_path / str(seed)))
    fusion = Fusion(four_bits, sources, FusionRules(weights=(0.7, 0.3)))
    reference = DenseReference(four_bits)
    assert prove_adapter(fusion, reference, to_factors(fusion).factors).kl < 1e-6
    made = fused_weights(four_bits, fusion.change, "float32")
    assert "quantization" not in made.config
    save_model_folder(tmp_path / "fused", four_bits, made.config, made.tensors(), "card", {})
    assert prove_model(fusion, reference, tmp_path / "fused").kl < 1e-9
