"""GGUF files of real tiny models: what is in them, what is refused by name, that nothing is left of a failure. No engine is needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import numpy as np
import orjson
import pytest

from tests.tiny_models import make_tiny_model
from tunesmith.errors import UserError
from tunesmith.export.gguf import export_gguf
from tunesmith.export.gguf_architectures import ARCHITECTURES, read_blueprint, rope_factors
from tunesmith.export.gguf_lora import export_gguf_lora
from tunesmith.export.gguf_reading import open_gguf, read_back
from tunesmith.models.adapter_files import adapter_config, save_folder
from tunesmith.models.fused_weights import fused_weights
from tunesmith.models.loading import hash_model, load_model
from tunesmith.models.saving import save_model_folder
from tunesmith.system.paths import REPOSITORY


def export(source: Path, target: Path, outtype: str = "F32", **more: Any) -> gguf.GGUFReader:
    export_gguf(fused_weights(source), source, target, outtype, **more)
    return open_gguf(target)


def change(path: Path, **changes: Any) -> None:
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | changes))


def value(reader: gguf.GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


@pytest.mark.parametrize("model_type", list(ARCHITECTURES))
def test_what_is_read_back_is_what_was_written(tmp_path: Path, model_type: str) -> None:
    source = make_tiny_model(tmp_path / "model", model_type)
    back = dict(read_back(export(source, tmp_path / "m.gguf"), read_blueprint(source)))
    original = dict(fused_weights(source).tensors())
    assert set(back) == set(original)
    for name, array in original.items():
        assert float(mx.abs(back[name] - array).max()) <= (5e-7 if name.endswith("norm.weight") else 0), name  # Gemma's: 1 added, 1 taken


def test_rows_of_llamas_queries_stand_as_pairs_and_gemmas_norms_hold_their_one(tmp_path: Path) -> None:
    llama = make_tiny_model(tmp_path / "llama", "llama")
    stored = {tensor.name: tensor.data for tensor in export(llama, tmp_path / "llama.gguf").tensors}
    query = np.array(dict(fused_weights(llama).tensors())["model.layers.0.self_attn.q_proj.weight"])
    for head, place in ((0, 0), (0, 3), (5, 7)):  # row i of a head's first half comes beside row i of its second
        assert (stored["blk.0.attn_q.weight"][32 * head + 2 * place] == query[32 * head + place]).all()
        assert (stored["blk.0.attn_q.weight"][32 * head + 2 * place + 1] == query[32 * head + 16 + place]).all()
    gemma = make_tiny_model(tmp_path / "gemma", "gemma2")
    stored = {tensor.name: tensor.data for tensor in export(gemma, tmp_path / "gemma.gguf").tensors}
    assert (stored["output_norm.weight"] == np.array(dict(fused_weights(gemma).tensors())["model.norm.weight"]) + 1).all()


@pytest.mark.parametrize(("outtype", "error"), [("F16", 2**-11), ("BF16", 2**-8), ("Q8_0", 1.0)])
def test_each_kind_rounds_as_it_should(tmp_path: Path, outtype: str, error: float) -> None:
    source = make_tiny_model(tmp_path / "model", "qwen2", intermediate_size=560)  # 32 does not divide 560
    reader = export(source, tmp_path / "m.gguf", outtype)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.attn_norm.weight"] == kinds["blk.0.attn_q.bias"] == "F32"
    assert (kinds["blk.0.attn_q.weight"], kinds["blk.0.ffn_down.weight"]) == (outtype, "F16" if outtype == "Q8_0" else outtype)
    found, original = dict(read_back(reader, read_blueprint(source))), dict(fused_weights(source).tensors())
    name = "model.layers.0.self_attn.q_proj.weight"
    weight = np.array(original[name])
    step = np.abs(weight).reshape(-1, 32).max(axis=1, keepdims=True) / 127 * 0.57  # Q8_0: half a step of each 32's scale, itself F16
    allowed = np.broadcast_to(step, (step.size, 32)).reshape(weight.shape) if outtype == "Q8_0" else np.abs(weight) * error + 1e-7
    difference = np.abs(np.array(found[name]) - weight)
    assert (difference <= allowed).all()
    assert difference.max() > 0


def test_the_vocabulary_and_the_settings(tmp_path: Path) -> None:
    source = make_tiny_model(tmp_path / "model", "llama", rope_theta=500_000.0, vocab_size=512)
    for file in ("config.json", "generation_config.json"):
        change(source / file, eos_token_id=[4, 1])
    reader = export(source, tmp_path / "m.gguf", name="My model", template="{{ messages }}")
    tokens, types = value(reader, "tokenizer.ggml.tokens"), value(reader, "tokenizer.ggml.token_type")
    assert (value(reader, "general.name"), value(reader, "tokenizer.chat_template")) == ("My model", "{{ messages }}")
    assert (value(reader, "tokenizer.ggml.model"), value(reader, "tokenizer.ggml.pre")) == ("gpt2", "llama-bpe")
    assert (value(reader, "tokenizer.ggml.eos_token_id"), value(reader, "tokenizer.ggml.eot_token_id")) == (4, 1)
    assert (value(reader, "tokenizer.ggml.bos_token_id"), value(reader, "tokenizer.ggml.add_bos_token")) == (0, True)
    assert (tokens[4], types[4], tokens[511], types[511], types[100]) == ("<|eot_id|>", 3, "[PAD511]", 5, 1)
    assert (value(reader, "llama.rope.freq_base"), value(reader, "llama.attention.head_count_kv")) == (500_000.0, 4)
    assert len(tokens) == value(reader, "llama.vocab_size") == 512


def test_pieces_of_sentencepiece_score_in_the_order_of_learning(tmp_path: Path) -> None:
    import sentencepiece

    source = make_tiny_model(tmp_path / "model", "llama", "sentencepiece")
    reader = export(source, tmp_path / "m.gguf")
    trained = sentencepiece.SentencePieceProcessor(model_file=str(source / "tokenizer.model"))
    tokens, types = value(reader, "tokenizer.ggml.tokens"), value(reader, "tokenizer.ggml.token_type")
    assert tokens == [trained.id_to_piece(number) for number in range(trained.get_piece_size())]
    assert types[:4] == [2, 3, 3, 6]
    longer = [number for number, (text, kind) in enumerate(zip(tokens, types, strict=True)) if kind == 1 and len(text) > 1]
    scores = value(reader, "tokenizer.ggml.scores")
    assert len(longer) > 20
    by_ours = sorted(longer, key=lambda number: -scores[number])
    assert by_ours == sorted(longer, key=lambda number: -trained.get_score(number))
    assert value(reader, "tokenizer.ggml.add_space_prefix") is True


def test_llama_3s_factors_are_those_that_mlx_divides_by(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    source = make_tiny_model(tmp_path / "model", "llama", rope_scaling=scaling, head_dim=64)
    factors = rope_factors(read_blueprint(source))
    assert factors is not None
    wavelengths = 10_000.0 ** (np.arange(0, 64, 2) / 64)
    rope = load_model(source).model.layers[0].self_attn.rope
    assert np.allclose(wavelengths * factors, np.array(rope._freqs), rtol=1e-5)
    assert (factors[0], factors[-1]) == (1.0, 8.0)


def test_a_quantised_base_is_written_dense(tmp_path: Path) -> None:
    from tunesmith.export.config import QuantizeRules
    from tunesmith.export.quantized import quantize_folder
    from tunesmith.models.weights import open_lazily

    dense = make_tiny_model(tmp_path / "dense", "llama")
    quantize_folder(dense, tmp_path / "small", QuantizeRules(), "", {}, lambda *_: None)
    assert "quantization" in open_lazily(tmp_path / "small")[1]
    back = dict(read_back(export(tmp_path / "small", tmp_path / "m.gguf"), read_blueprint(tmp_path / "small")))
    name = "model.layers.0.self_attn.q_proj.weight"
    assert float(mx.abs(back[name] - dict(fused_weights(tmp_path / "small").tensors())[name]).max()) == 0


def break_rope(source: Path) -> None:
    change(source / "config.json", rope_scaling={"rope_type": "dynamic", "factor": 2.0})


def break_cut(source: Path) -> None:
    tokenizer = orjson.loads((source / "tokenizer.json").read_bytes())
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\s+|\S+"
    (source / "tokenizer.json").write_bytes(orjson.dumps(tokenizer))


def break_normalizer(source: Path) -> None:
    change(source / "tokenizer.json", normalizer={"type": "Lowercase"})


def break_vocabulary(source: Path) -> None:
    tokenizer = orjson.loads((source / "tokenizer.json").read_bytes())
    tokenizer["added_tokens"].append(tokenizer["added_tokens"][0] | {"id": 480, "content": "<|one_more|>"})
    (source / "tokenizer.json").write_bytes(orjson.dumps(tokenizer))


def break_end(source: Path) -> None:
    change(source / "tokenizer_config.json", eos_token=None)
    change(source / "config.json", eos_token_id=None)
    (source / "generation_config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "code", "fact"),
    [
        (break_rope, "gguf_setting_unsupported", "dynamic"), (break_cut, "gguf_tokenizer_unknown", "pre_tokenizer"),
        (break_normalizer, "gguf_tokenizer_unknown", "normalizer"), (break_vocabulary, "gguf_vocabulary_larger", 481),
        (break_end, "gguf_end_missing", None),
    ],
)  # fmt: skip
def test_what_llama_cpp_would_do_otherwise_is_refused(tmp_path: Path, damage: Callable[[Path], None], code: str, fact: object) -> None:
    source = make_tiny_model(tmp_path / "model", "llama")
    damage(source)
    with pytest.raises(UserError, match=code) as caught:
        export(source, tmp_path / "out" / "m.gguf")
    assert fact is None or fact in caught.value.facts.values()
    assert not list(tmp_path.rglob("*.gguf*"))


def test_unknown_architectures_and_scales_are_refused_by_name(tmp_path: Path) -> None:
    source = make_tiny_model(tmp_path / "model", "llama")
    change(source / "config.json", model_type="olmo2")
    with pytest.raises(UserError, match="gguf_architecture_unknown") as caught:
        read_blueprint(source)
    assert caught.value.facts["model_type"] == "olmo2"
    gemma = make_tiny_model(tmp_path / "gemma", "gemma2", query_pre_attn_scalar=100)
    with pytest.raises(UserError, match="query_pre_attn_scalar"):
        read_blueprint(gemma)
    with pytest.raises(UserError, match="setting_choice"):
        export(make_tiny_model(tmp_path / "plain", "llama"), tmp_path / "m.gguf", "Q3")


def test_a_null_in_the_settings_is_no_list_of_layers(tmp_path: Path) -> None:
    source = make_tiny_model(tmp_path / "model", "qwen2", layer_types=None)
    assert "layer_types" in orjson.loads((source / "config.json").read_bytes())
    assert read_blueprint(source).arch_name == "qwen2"


@pytest.mark.parametrize(("number", "code"), [(1e5, "gguf_f16_overflow"), (float("nan"), "gguf_not_finite")])
def test_numbers_that_do_not_fit_are_refused_and_nothing_is_left(tmp_path: Path, number: float, code: str) -> None:
    source, broken = make_tiny_model(tmp_path / "model", "qwen3"), tmp_path / "broken"
    weights = dict(fused_weights(source).tensors())
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = number
    save_model_folder(broken, source, orjson.loads((source / "config.json").read_bytes()), weights.items(), "", {})
    with pytest.raises(UserError, match=code) as caught:
        export(broken, tmp_path / "out" / "m.gguf", "F16")
    assert caught.value.facts["tensor"] == "model.layers.1.mlp.up_proj.weight"
    assert not list((tmp_path / "out").iterdir())
    if code == "gguf_f16_overflow":
        assert export(broken, tmp_path / "out" / "m.gguf", "BF16").tensors


def test_an_existing_file_stays_and_a_stopped_export_leaves_nothing(tmp_path: Path) -> None:
    source = make_tiny_model(tmp_path / "model", "qwen3")
    target = tmp_path / "out" / "m.gguf"
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(UserError, match="target_exists"):
        export(source, target)
    assert target.read_bytes() == b"mine"
    target.unlink()
    shares: list[float] = []

    def stop(phase: str, share: float) -> None:
        shares.append(share)
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(source, target, report=stop)
    assert shares == sorted(shares)
    assert not list(target.parent.iterdir())


def test_adapters_that_gguf_cannot_hold_are_refused(tmp_path: Path) -> None:
    source = make_tiny_model(tmp_path / "model", "llama")

    def adapter(kind: str, module: str) -> Path:
        arrays = {f"{module}.lora_a": mx.ones((256, 2)), f"{module}.lora_b": mx.ones((2, 480))}
        config = adapter_config(kind, 2, {"rank": 2, "scale": 2.0}, source, hash_model(source))
        save_folder(tmp_path / "run" / "adapter", {"adapters.safetensors": arrays}, {"adapter_config.json": config})
        return tmp_path / "run" / "adapter"

    with pytest.raises(UserError, match="adapter_kind_unsupported"):
        export_gguf_lora(adapter("dora", "lm_head"), source, tmp_path / "lora.gguf")
    with pytest.raises(UserError, match="gguf_adapter_part"):
        export_gguf_lora(adapter("lora", "model.embed_tokens"), source, tmp_path / "lora.gguf")
    export_gguf_lora(adapter("lora", "lm_head"), source, tmp_path / "lora.gguf")
    reader = open_gguf(tmp_path / "lora.gguf")
    assert (value(reader, "adapter.type"), value(reader, "adapter.lora.alpha"), value(reader, "general.type")) == ("lora", 4.0, "adapter")
    assert [tensor.name for tensor in reader.tensors] == ["output.weight.lora_a", "output.weight.lora_b"]


PEAK = """
import resource, sys
from pathlib import Path
from tunesmith.models.blas import prepare_worker
prepare_worker()
from tests.tiny_models import make_tiny_model
from tunesmith.export.gguf import export_gguf
from tunesmith.models.fused_weights import fused_weights
source = Path(sys.argv[1])
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1 / 1024)
small = make_tiny_model(source / "small", "llama")
export_gguf(fused_weights(small), small, source / "small.gguf", "F16")
before = peak()
export_gguf(fused_weights(source / "large"), source / "large", source / "large.gguf", "F16")
print(peak() - before, (source / "large.gguf").stat().st_size)
"""


def test_about_one_tensor_at_a_time_is_in_memory(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "large", "llama", hidden_size=1024, intermediate_size=4096, num_hidden_layers=4, num_attention_heads=32)
    command = [sys.executable, "-c", PEAK, str(tmp_path)]
    told = subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True, text=True).stdout
    grown_bytes, file_bytes = map(float, told.split())
    assert file_bytes > 120e6
    assert grown_bytes < 80e6  # the largest tensor is 17 MB in float32 and passes through three forms
