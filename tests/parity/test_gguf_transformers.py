"""Our GGUF files in transformers' own reader of GGUF, an implementation that shares nothing with ours but the file."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.tiny_models import make_tiny_model
from tunesmith.export.gguf import export_gguf
from tunesmith.models.fused_weights import fused_weights
from tunesmith.models.loading import load_model

torch = pytest.importorskip("torch", reason="needs the parity extra")
transformers = pytest.importorskip("transformers")
WIDE = {"head_dim": 256, "query_pre_attn_scalar": 256}  # its readers of Gemma and Qwen3 take these from no key, but from the usual model


@pytest.mark.parametrize(
    ("model_type", "vocabulary", "settings"),
    [
        ("llama", "bpe", {}), ("mistral", "sentencepiece", {}), ("qwen2", "bpe", {}), ("qwen3", "bpe", {"head_dim": 128}),
        ("gemma2", "sentencepiece", WIDE),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_transformers_reads_the_same_model(tmp_path: Path, model_type: str, vocabulary: str, settings: dict[str, Any]) -> None:
    source = make_tiny_model(tmp_path / "model", model_type, vocabulary, **settings)
    alone = tmp_path / "alone"
    export_gguf(fused_weights(source), source, alone / "model.gguf", "F32")
    base = load_model(source)
    ids = base.tokenizer.encode("Once upon a time, there was 日本")
    ours = np.array(base.model(mx.array([ids]))[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.AutoModelForCausalLM.from_pretrained(alone, gguf_file="model.gguf", dtype=torch.float32)
    with torch.no_grad():
        logits = theirs(torch.tensor([ids])).logits[0].numpy()
    assert np.abs(logits - ours).max() < 1e-4
    shutil.rmtree(alone)


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gemma2", "gemma3_text"])
def test_the_tiny_models_are_the_same_to_mlx_and_transformers(tmp_path: Path, model_type: str) -> None:
    source = make_tiny_model(tmp_path / "model", model_type)
    base = load_model(source)
    ids = base.tokenizer.encode("Once upon a time, there was 日本")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    with torch.no_grad():
        logits = theirs(torch.tensor([ids])).logits[0].numpy()
    assert np.abs(logits - np.array(base.model(mx.array([ids]))[0])).max() < 1e-4
