"""Our GGUF files in a real llama.cpp: every architecture and vocabulary, every kind, adapters; and that the proof finds what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.generate import generate_step

from tests.parity.llama_engine import engine_folder
from tests.tiny_models import make_tiny_model
from tunesmith.errors import UserError
from tunesmith.export import gguf_architectures, gguf_pretokenizers, gguf_tokens
from tunesmith.export.gguf import export_gguf
from tunesmith.export.gguf_lora import export_gguf_lora, prove_gguf_lora
from tunesmith.export.gguf_proof import prove_gguf
from tunesmith.export.gguf_quantize import export_quantized_gguf, find_quantizer, quantize_gguf
from tunesmith.export.gguf_reading import count_types, open_gguf
from tunesmith.export.llama_cpp import ask_llama_cpp, find_library
from tunesmith.inference.proof import PROMPTS
from tunesmith.models.adapter_files import adapter_config, save_folder
from tunesmith.models.fused_weights import fused_weights
from tunesmith.models.loading import hash_model, load_model, load_tokenizer
from tunesmith.system.paths import DEMO_MODEL

COMBINATIONS = [
    ("llama", "bpe"), ("llama", "sentencepiece"), ("mistral", "bpe"), ("mistral", "sentencepiece"), ("qwen2", "bpe"),
    ("qwen3", "bpe"), ("gemma2", "bpe"), ("gemma2", "sentencepiece"), ("gemma3_text", "bpe"),
    ("gemma3_text", "sentencepiece"), ("gemma3", "sentencepiece"),
]  # fmt: skip
TEXTS = (
    "Tom's 3 dogs, 12 cats and 123456789 birds", "　全角の空白と、半角 の空白。", "for (i = 0;  i < n;\ti++) {\r\n}\r\n", "x" * 40,
    "\n\n \n", " ", "👩‍👩‍👧 emoji", "<|im_start|>user\nhi<|im_end|>\n", "<|begin_of_text|>a<|eot_id|>b", "<s>[INST] c [/INST] d</s>",
    "<bos><start_of_turn>user\ne<end_of_turn>\n",
)  # fmt: skip
JOINS = {"qwen2", "qwen3", "gemma2", "gemma3_text"}  # the models whose byte-level tokenizers here join decomposed text
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def export(source: Path, target: Path, outtype: str = "F32") -> Path:
    export_gguf(fused_weights(source), source, target, outtype)
    return target


def ask(folder: Path, path: Path, prompts: list[list[int]], texts: tuple[str, ...], logits: Path) -> dict[str, Any]:
    request = {"do": "answer", "model": str(path), "texts": texts, "prompts": prompts, "answer_tokens": 24, "context_tokens": 512}
    return ask_llama_cpp(folder, request | {"logits": str(logits)})


@pytest.mark.parametrize(("model_type", "vocabulary"), COMBINATIONS)
def test_llama_cpp_cuts_text_and_answers_as_mlx_does(engine: Path, tmp_path: Path, model_type: str, vocabulary: str) -> None:
    source = make_tiny_model(tmp_path / "model", model_type, vocabulary)
    path = export(source, tmp_path / "model.gguf")
    base = load_model(source)
    prompts = [list(base.tokenizer.encode(prompt)) for prompt in PROMPTS]
    greedy = [[int(token) for token, _ in generate_step(mx.array(prompt), base.model, max_tokens=24)] for prompt in prompts]
    found = ask(engine, path, prompts, TEXTS, tmp_path / "logits.npy")
    assert found["texts"] == [list(base.tokenizer.encode(text)) for text in TEXTS]
    assert set(base.tokenizer.eos_token_ids) <= set(found["ends"])
    for ours, theirs in zip(greedy, found["answers"], strict=True):
        assert theirs == ours[: len(theirs)]
        assert len(theirs) == 24 or theirs[-1] in found["ends"]
    proof = prove_gguf(path, source, fused_weights(source))
    assert proof["verified"]
    assert proof["engine"].startswith("llama.cpp 0.5.0")
    assert (proof["likeness"]["kl"], proof["tokens_equal"], proof["greedy_equal"]) == (pytest.approx(0, abs=1e-9), 1.0, 1.0)
    assert proof["engine_likeness"]["kl"] < 1e-5  # keys and values in F16
    assert proof["checks"] == dict.fromkeys(("stored", "tokens", "ends", "logits", "answers"), True)
    assert proof["unchecked"] == (["decomposed_text"] if vocabulary == "bpe" and model_type in JOINS else [])


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("llama", {"rope_scaling": LLAMA3_ROPE, "head_dim": 64}),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 4.0}}),
        ("llama", {"tie_word_embeddings": True, "attention_bias": True, "num_key_value_heads": 8}),
        ("qwen3", {"tie_word_embeddings": True, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
        ("gemma3_text", {"sliding_window": 8, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
        ("gemma3_text", {"sliding_window_pattern": 3, "sliding_window": 8}),
    ],
    ids=["llama3-rope", "linear-rope", "tied-biased", "tied-linear", "window-linear", "pattern"],
)
def test_settings_mean_the_same_to_llama_cpp(engine: Path, tmp_path: Path, model_type: str, settings: dict[str, Any]) -> None:
    source = make_tiny_model(tmp_path / "model", model_type, **settings)
    proof = prove_gguf(export(source, tmp_path / "model.gguf"), source, fused_weights(source))
    assert proof["verified"], proof
    assert proof["engine_likeness"]["kl"] < 1e-5


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"])
def test_every_kind_of_the_demo_answers_in_llama_cpp(engine: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "demo.gguf"
    if "_K" in kind:
        made = export_quantized_gguf(fused_weights(DEMO_MODEL), DEMO_MODEL, path, kind)
        assert (made.quantizer, made.fallbacks) == (f"library {engine.name}", {})
    else:
        export(DEMO_MODEL, path, kind)
    proof = prove_gguf(path, DEMO_MODEL, fused_weights(DEMO_MODEL))
    assert proof["verified"], proof
    assert proof["tokens_equal"] == proof["greedy_equal"] == 1.0
    least, most = {
        "F16": (0, 1e-9), "BF16": (1e-6, 1e-4), "Q8_0": (1e-6, 1e-3), "Q6_K": (1e-4, 5e-3), "Q5_K_M": (1e-3, 2e-2), "Q4_K_M": (2e-3, 5e-2),
    }[kind]  # fmt: skip
    assert least <= proof["likeness"]["kl"] <= most
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["demo.gguf"]


def test_our_q8_0_is_llama_cpps_own_byte_for_byte(engine: Path, tmp_path: Path) -> None:
    source = make_tiny_model(tmp_path / "model", "llama")
    ours = open_gguf(export(source, tmp_path / "ours.gguf", "Q8_0"))
    quantize_gguf(export(source, tmp_path / "dense.gguf"), tmp_path / "theirs.gguf", "Q8_0")
    theirs = {tensor.name: tensor for tensor in open_gguf(tmp_path / "theirs.gguf").tensors}
    assert {tensor.name for tensor in ours.tensors} == set(theirs)
    for tensor in ours.tensors:
        assert tensor.tensor_type == theirs[tensor.name].tensor_type
        assert tensor.data.tobytes() == theirs[tensor.name].data.tobytes(), tensor.name


def test_rows_that_256_does_not_divide_fall_back_and_are_told(engine: Path, tmp_path: Path) -> None:
    source = make_tiny_model(tmp_path / "model", "llama", intermediate_size=544)
    made = export_quantized_gguf(fused_weights(source), source, tmp_path / "small.gguf", "Q4_K_M")
    assert set(made.fallbacks) == {"blk.0.ffn_down.weight", "blk.1.ffn_down.weight"}
    assert not {name for name in made.fallbacks.values() if "K" in name}
    assert prove_gguf(tmp_path / "small.gguf", source, fused_weights(source))["checks"]["logits"]


def write_adapter(folder: Path, base: Path, ranks: tuple[int, int]) -> Path:
    """Write a LoRA adapter of all linear layers, q with another rank than the rest."""
    chance = np.random.default_rng(5)
    arrays = {}
    for name, shape in gguf_architectures.read_blueprint(base).shapes.items():
        if ".layers." in name and len(shape) == 2:
            module, rank = name.removesuffix(".weight"), ranks["q_proj" in name]
            arrays[f"{module}.lora_a"] = mx.array(chance.standard_normal((shape[1], rank)).astype(np.float32) / 16)
            arrays[f"{module}.lora_b"] = mx.array(chance.standard_normal((rank, shape[0])).astype(np.float32) / 8)
    config = adapter_config("lora", 2, {"rank": ranks[0], "scale": 2.0}, base, hash_model(base))
    save_folder(folder, {"adapters.safetensors": arrays}, {"adapter_config.json": config})
    return folder


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gemma3"])
def test_llama_cpp_puts_our_adapter_on_the_base(engine: Path, tmp_path: Path, model_type: str) -> None:
    source = make_tiny_model(tmp_path / "model", model_type)
    adapter = write_adapter(tmp_path / "run" / "adapter", source, (4, 8))
    base = export(source, tmp_path / "base.gguf")
    export_gguf_lora(adapter, source, tmp_path / "lora.gguf")
    proof = prove_gguf_lora(tmp_path / "lora.gguf", base, adapter, source)
    assert proof["verified"], proof
    assert proof["engine_likeness"]["kl"] < 1e-5
    assert proof["factors_max_abs"] == 0


@pytest.mark.parametrize(("outtype", "most"), [("F16", 1e-3), ("BF16", 1e-2)])
def test_an_adapter_in_fewer_bits_is_verified_too(engine: Path, tmp_path: Path, outtype: str, most: float) -> None:
    adapter = write_adapter(tmp_path / "run" / "adapter", DEMO_MODEL, (4, 8))
    export_gguf_lora(adapter, DEMO_MODEL, tmp_path / "lora.gguf", outtype)
    proof = prove_gguf_lora(tmp_path / "lora.gguf", export(DEMO_MODEL, tmp_path / "base.gguf", "F16"), adapter, DEMO_MODEL)
    assert proof["verified"], proof
    assert proof["types"] == {outtype: 56}
    assert 0 < proof["factors_max_abs"] < most


def test_the_proof_finds_rows_in_the_wrong_order(engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_tiny_model(tmp_path / "model", "llama")
    monkeypatch.setattr(gguf_architectures.Blueprint, "_rotated_heads", lambda *_: None)
    proof = prove_gguf(export(source, tmp_path / "wrong.gguf"), source, fused_weights(source))
    assert proof["checks"] == {"stored": True, "tokens": True, "ends": True, "logits": False, "answers": False}
    assert not proof["verified"]


def test_the_proof_finds_text_cut_otherwise(engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_tiny_model(tmp_path / "model", "llama")
    monkeypatch.setattr(gguf_tokens, "split_name", lambda _: "qwen2")
    proof = prove_gguf(export(source, tmp_path / "wrong.gguf"), source, fused_weights(source))
    assert not proof["checks"]["tokens"]
    assert 0 < proof["tokens_equal"] < 1
    assert not proof["verified"]


def test_the_proof_finds_other_weights(engine: Path, tmp_path: Path) -> None:
    source, other = make_tiny_model(tmp_path / "model", "qwen2"), make_tiny_model(tmp_path / "other", "qwen2", seed=1)
    proof = prove_gguf(export(other, tmp_path / "other.gguf"), source, fused_weights(source))
    assert not proof["checks"]["stored"]
    assert proof["checks"]["logits"]  # llama.cpp computes what is stored
    assert not proof["verified"]


def test_without_an_engine_nothing_counts_as_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNESMITH_LIBLLAMA", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    path = export(DEMO_MODEL, tmp_path / "demo.gguf", "F16")
    proof = prove_gguf(path, DEMO_MODEL, fused_weights(DEMO_MODEL))
    assert (proof["engine"], proof["unchecked"], proof["verified"], proof["checks"]) == ("", ["engine_missing"], False, {"stored": True})
    assert proof["likeness"]["top1"] == 1.0
    with pytest.raises(UserError, match="gguf_no_quantizer"):
        find_quantizer()
    with pytest.raises(UserError, match="gguf_library_missing"):
        find_quantizer(str(tmp_path))


def test_the_library_installed_with_a_program_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "llama-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "lib").symlink_to(engine_folder())
    monkeypatch.delenv("TUNESMITH_LIBLLAMA", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_library() == tmp_path / "lib"
    assert find_quantizer().kind == "library"
    quantize_gguf(export(DEMO_MODEL, tmp_path / "demo.gguf", "F16"), tmp_path / "small.gguf", "Q6_K")
    assert count_types(open_gguf(tmp_path / "small.gguf")) == {"Q6_K": 29, "F32": 17}


def test_a_file_that_llama_cpp_refuses_is_told_in_its_words(engine: Path, tmp_path: Path) -> None:
    path = export(DEMO_MODEL, tmp_path / "demo.gguf", "F16")
    path.write_bytes(path.read_bytes()[:-200_000])
    with pytest.raises(UserError, match="gguf_engine_failed") as caught:
        ask(engine, path, [[1]], (), tmp_path / "logits.npy")
    assert "tensor" in str(caught.value.facts["reason"])
    with pytest.raises(UserError, match="gguf_engine_failed"):
        quantize_gguf(path_of_torn(tmp_path), tmp_path / "small.gguf", "Q4_K_M")
    assert not list(tmp_path.glob("*small*"))


def path_of_torn(folder: Path) -> Path:
    """Write a file whose list of tensors is whole, and whose architecture llama.cpp does not know."""
    whole = export(DEMO_MODEL, folder / "whole.gguf", "F16").read_bytes()
    torn = folder / "torn.gguf"
    torn.write_bytes(whole.replace(b"qwen3", b"qwenX"))
    return torn


def test_bits_are_not_taken_twice(engine: Path, tmp_path: Path) -> None:
    path = export(DEMO_MODEL, tmp_path / "demo.gguf", "Q8_0")
    with pytest.raises(UserError, match="gguf_already_quantized"):
        quantize_gguf(path, tmp_path / "small.gguf", "Q4_K_M")


def test_the_program_is_asked_first(engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program of the tests is a script that hands its arguments to the real library: ours is what it is called with."""
    program = tmp_path / "llama-quantize"
    request = f'{{"do":"quantize","folder":"{engine}","source":"%s","target":"%s","kind":"%s","threads":%s}}'
    program.write_text(f"#!/bin/sh\nprintf '{request}' \"$@\" | {sys.executable} -m tunesmith.export.llama_cpp_child >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    made = quantize_gguf(export(DEMO_MODEL, tmp_path / "demo.gguf", "F16"), tmp_path / "small.gguf", "Q5_K_M")
    assert made.quantizer == "program llama-quantize"
    assert set(count_types(open_gguf(tmp_path / "small.gguf"))) == {"Q5_K", "Q6_K", "F32"}
    program.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    with pytest.raises(UserError, match="out of luck"):
        quantize_gguf(tmp_path / "demo.gguf", tmp_path / "again.gguf", "Q5_K_M")
    assert not list(tmp_path.glob("*again*"))


def test_a_folder_with_tokenizer_model_alone(engine: Path, tmp_path: Path) -> None:
    """transformers makes a tokenizer of it that puts no space before text that begins with one; llama.cpp does, and the proof tells."""
    source = make_tiny_model(tmp_path / "model", "llama", "sentencepiece")
    (source / "tokenizer.json").unlink()
    settings = source / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace("PreTrainedTokenizerFast", "LlamaTokenizer"))
    path = export(source, tmp_path / "model.gguf")
    tokenizer = load_tokenizer(source)
    plain = [text for text in TEXTS if not text.startswith((" ", "<"))]
    found = ask(engine, path, [[1]], (*plain, " a"), tmp_path / "logits.npy")
    assert len(plain) >= 6
    assert found["texts"][:-1] == [list(tokenizer.encode(text)) for text in plain]
    assert found["texts"][-1] != list(tokenizer.encode(" a"))
    proof = prove_gguf(path, source, fused_weights(source))
    assert (proof["checks"]["tokens"], proof["checks"]["logits"], proof["verified"]) == (False, True, False)
    assert 0.7 < proof["tokens_equal"] < 1


def test_every_name_of_a_cut_is_known_to_llama_cpp(engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_tiny_model(tmp_path / "model", "qwen3")
    for name in set(gguf_pretokenizers.SPLITS.values()):
        monkeypatch.setattr(gguf_tokens, "split_name", lambda _, name=name: name)
        found = ask(engine, export(source, tmp_path / f"{name}.gguf", "Q8_0"), [[1]], ("a",), tmp_path / "logits.npy")
        assert found["texts"] == [[found["texts"][0][-1]]]
