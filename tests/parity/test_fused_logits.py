"""A fused folder answers in transformers as the adapter does in MLX; and a config of transformers 5 is understood by mlx-lm."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import orjson
import pytest
from mlx_lm.utils import load_model as load_mlx_model
from safetensors.numpy import load_file

from tests.random_adapters import make_adapter
from tests.tiny_models import make_tiny_model
from tunesmith.export.config import QuantizeRules
from tunesmith.export.quantized import quantize_folder
from tunesmith.inference.adapter_bank import AdapterBank
from tunesmith.inference.proof import compare_logits
from tunesmith.models import saving
from tunesmith.models.fused_weights import adapter_change, fused_weights
from tunesmith.models.loading import load_model
from tunesmith.models.model_config import normalise_config
from tunesmith.models.safety import check_model_folder, weight_files
from tunesmith.models.saving import save_model_folder
from tunesmith.system.progress import silent

torch = pytest.importorskip("torch", reason="logits are compared with torch's")
transformers = pytest.importorskip("transformers", reason="logits are compared with those of transformers")

CLOSE = 1e-3
TOKENS = np.random.default_rng(6).integers(3, 400, (2, 24))
BASES = {"llama": "bpe", "mistral": "bpe", "qwen2": "bpe", "qwen3": "bpe", "gemma2": "sentencepiece", "gemma3_text": "sentencepiece"}


@pytest.fixture(scope="module")
def make_base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(model_type: str) -> Path:
        if model_type not in made:
            made[model_type] = make_tiny_model(tmp_path_factory.mktemp("bases") / model_type, model_type, BASES[model_type])
        return made[model_type]

    return make


def fuse(base: Path, adapter: Path | None, target: Path, dtype: str = "float32") -> Path:
    fused = fused_weights(base, adapter_change(adapter, base) if adapter else None, dtype)
    save_model_folder(target, base, fused.config, fused.tensors(), "# A card", {"v": 1}, total=fused.count)
    return target


def mlx_logits(base: Path, adapter: Path | None = None) -> Any:
    bank = AdapterBank(load_model(base))
    bank.activate(bank.load(adapter) if adapter else None)
    return np.array(bank.base.model(mx.array(TOKENS)))


def torch_model(path: Path) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def torch_logits(path: Path) -> Any:
    with torch.no_grad():
        return torch_model(path)(torch.tensor(TOKENS)).logits.numpy()


def apart(one: Any, other: Any) -> float:
    return float(np.abs(one - other).max())


def greedy(next_logits: Callable[[list[int]], Any], tokens: int = 16) -> list[int]:
    """Return the likeliest tokens one after the other."""
    ids = [int(i) for i in TOKENS[0, :6]]
    for _ in range(tokens):
        ids.append(int(np.argmax(next_logits(ids))))
    return ids


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("model_type", BASES)
def test_a_fused_folder_answers_in_transformers_as_the_adapter_in_mlx(
    make_base: Callable[[str], Path], model_type: str, kind: str, tmp_path: Path
) -> None:
    base = make_base(model_type)
    adapter = make_adapter(tmp_path / "run" / "adapter", base, kind)
    fused = fuse(base, adapter, tmp_path / "fused")
    worn, alone = mlx_logits(base, adapter), mlx_logits(fused)
    likeness = compare_logits(list(worn), list(alone))
    assert likeness.kl < 1e-6
    assert likeness.top1 == 1.0
    assert apart(torch_logits(fused), worn) < CLOSE
    assert apart(worn, mlx_logits(base)) > 0.5


def test_the_same_tokens_are_written(make_base: Callable[[str], Path], tmp_path: Path) -> None:
    base = make_base("llama")
    adapter = make_adapter(tmp_path / "run" / "adapter", base)
    fused = fuse(base, adapter, tmp_path / "fused")
    bank = AdapterBank(load_model(base))
    bank.activate(bank.load(adapter))
    model = torch_model(fused)
    with torch.no_grad():
        theirs = greedy(lambda ids: model(torch.tensor([ids])).logits[0, -1].numpy())
    ours = greedy(lambda ids: np.array(bank.base.model(mx.array([ids]))[0, -1]))
    assert ours == theirs
    assert len(set(ours)) > 4
    assert transformers.AutoTokenizer.from_pretrained(fused)("The house by the sea").input_ids == list(
        bank.base.tokenizer.encode("The house by the sea")
    )


@pytest.mark.parametrize("dtype", ["", "float16", "bfloat16"])
def test_the_numbers_are_of_the_dtype_that_was_asked_for(make_base: Callable[[str], Path], dtype: str, tmp_path: Path) -> None:
    base = make_base("qwen2")
    fused = fuse(base, None, tmp_path / "fused", dtype)
    wanted = {"": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}[dtype]
    assert {array.dtype for array in mx.load(str(fused / "model.safetensors")).values()} == {wanted}  # type: ignore[union-attr]
    found = transformers.AutoConfig.from_pretrained(fused).dtype
    assert str(found) == f"torch.{dtype or 'float32'}"
    assert apart(torch_logits(fused), mlx_logits(fused)) < CLOSE


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_a_quantized_base_is_made_dense(make_base: Callable[[str], Path], kind: str, tmp_path: Path) -> None:
    quantize_folder(make_base("llama"), tmp_path / "small", QuantizeRules(bits=4, group_size=64), "", {}, silent)
    adapter = make_adapter(tmp_path / "run" / "adapter", tmp_path / "small", kind)
    fused = fuse(tmp_path / "small", adapter, tmp_path / "fused")
    assert "quantization" not in orjson.loads((fused / "config.json").read_bytes())
    assert apart(torch_logits(fused), mlx_logits(tmp_path / "small", adapter)) < CLOSE
    assert apart(mlx_logits(tmp_path / "small"), mlx_logits(make_base("llama"))) > 0.05


def test_shards_hold_what_one_file_holds(make_base: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = make_base("qwen3")
    adapter = make_adapter(tmp_path / "run" / "adapter", base)
    whole = load_file(fuse(base, adapter, tmp_path / "whole") / "model.safetensors")
    monkeypatch.setattr(saving, "SHARD_BYTES", 400_000)
    sharded = fuse(base, adapter, tmp_path / "sharded")
    files = weight_files(sharded)
    assert len(files) > 4
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    parts = [load_file(file) for file in files]
    assert sum(len(part) for part in parts) == len(whole)
    assert all(np.array_equal(array, whole[name]) for part in parts for name, array in part.items())
    index = orjson.loads((sharded / "model.safetensors.index.json").read_bytes())
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in whole.values())
    assert {name: file.name for file, part in zip(files, parts, strict=True) for name in part} == index["weight_map"]
    check_model_folder(sharded)
    assert apart(torch_logits(sharded), mlx_logits(sharded)) < CLOSE


ROPES: dict[str, tuple[str, dict[str, Any]]] = {
    "theta": ("llama", {"rope_theta": 600.0, "rope_type": "default"}),
    "linear": ("llama", {"rope_theta": 600.0, "rope_type": "linear", "factor": 3.0}),
    "llama 3": (
        "llama",
        {
            "rope_theta": 600.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ),
    "mistral": ("mistral", {"rope_theta": 600.0, "rope_type": "default"}),
    "qwen 2": ("qwen2", {"rope_theta": 600.0, "rope_type": "default"}),
    "qwen 3": ("qwen3", {"rope_theta": 600.0, "rope_type": "linear", "factor": 3.0}),
    "gemma 2": ("gemma2", {"rope_theta": 600.0, "rope_type": "default"}),
    "gemma 3": (
        "gemma3_text",
        {
            "full_attention": {"rope_theta": 600.0, "rope_type": "linear", "factor": 2.0},
            "sliding_attention": {"rope_theta": 50.0, "rope_type": "default"},
        },
    ),
}  # fmt: skip
UNDERSTOOD_BY_MLX_LM = {"qwen 3"}


@pytest.fixture
def written_by_transformers(make_base: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    def write(name: str) -> Path:
        """Return a model folder that transformers 5 itself wrote, with a rotary embedding of its own."""
        model_type, rope = ROPES[name]
        base = make_base(model_type)
        config = transformers.AutoConfig.from_pretrained(base)
        config.rope_parameters = rope
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
        model.load_state_dict(torch_model(base).state_dict())
        model.save_pretrained(tmp_path / "theirs")
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(base / file, tmp_path / "theirs")
        return tmp_path / "theirs"

    return write


@pytest.mark.parametrize("name", ROPES)
def test_a_model_that_transformers_5_wrote_turns_positions_as_there(
    name: str, written_by_transformers: Callable[[str], Path], tmp_path: Path
) -> None:
    theirs = written_by_transformers(name)
    config = orjson.loads((theirs / "config.json").read_bytes())
    assert "rope_theta" not in config
    wanted = torch_logits(theirs)
    assert apart(mlx_logits(theirs), wanted) < CLOSE
    plain = np.array(load_mlx_model(theirs)[0](mx.array(TOKENS)))
    assert (apart(plain, wanted) < CLOSE) == (name in UNDERSTOOD_BY_MLX_LM)  # else there would be nothing to mend
    again = fuse(theirs, None, tmp_path / "again")
    assert apart(torch_logits(again), wanted) < CLOSE
    assert apart(np.array(load_mlx_model(again)[0](mx.array(TOKENS))), wanted) < CLOSE  # without our reading


def test_paths_and_code_do_not_travel() -> None:
    config = {"model_type": "llama", "_name_or_path": "/home/me", "auto_map": {"A": "b.C"}, "model_file": "x.py", "head_dim": None}
    assert normalise_config(config) == {"model_type": "llama", "head_dim": None}


def test_a_model_without_a_window_has_none_after_it_was_fused(tmp_path: Path) -> None:
    """Mistral 7B v0.2 and v0.3 say `"sliding_window": null`; without the key transformers would take its default, 4096 tokens."""
    base = make_tiny_model(tmp_path / "base", "mistral", "bpe", sliding_window=None)
    fused = fuse(base, None, tmp_path / "fused")
    assert [transformers.AutoConfig.from_pretrained(folder).sliding_window for folder in (base, fused)] == [None, None]
    assert apart(np.array(load_mlx_model(fused)[0](mx.array(TOKENS))), torch_logits(base)) < CLOSE


def test_what_a_config_says_itself_comes_first() -> None:
    config = {"rope_theta": 5.0, "rope_parameters": {"rope_theta": 7.0, "rope_type": "default", "partial_rotary_factor": 0.5}}
    assert normalise_config(config) == config | {"partial_rotary_factor": 0.5}
    inner = normalise_config({"text_config": {"rope_parameters": {"rope_theta": 7.0}}})["text_config"]
    assert inner == {"rope_parameters": {"rope_theta": 7.0}, "rope_theta": 7.0}
