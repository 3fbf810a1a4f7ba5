"""The same adapter in MLX and in transformers with PEFT gives the same logits, made by us or by PEFT."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.random_adapters import make_adapter
from tests.tiny_models import make_tiny_model
from tunesmith.export.peft import to_peft
from tunesmith.export.peft_import import from_peft
from tunesmith.inference.adapter_bank import AdapterBank
from tunesmith.models.loading import load_model
from tunesmith.system.paths import DEMO_MODEL

torch = pytest.importorskip("torch", reason="logits are compared with torch's")
peft = pytest.importorskip("peft", reason="adapters are compared with peft's")
transformers = pytest.importorskip("transformers", reason="logits are compared with those of transformers")

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers by an old name

CLOSE = 3e-4  # of logits some tens wide, in float32 on both sides
TOKENS = np.random.default_rng(5).integers(3, 400, (3, 24))
BASES = {"llama": "bpe", "mistral": "bpe", "qwen2": "bpe", "qwen3": "bpe", "gemma2": "sentencepiece"}


@pytest.fixture(scope="module", params=["demo", *BASES])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "demo":
        return DEMO_MODEL
    return make_tiny_model(tmp_path_factory.mktemp("bases") / request.param, request.param, BASES[request.param])


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("bases") / "llama", "llama")


def torch_base(path: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")


def torch_logits(model: Any) -> Any:
    with torch.no_grad():
        return model.eval()(torch.tensor(TOKENS)).logits.numpy()


def mlx_logits(base: Path, adapter: Path | None) -> Any:
    bank = AdapterBank(load_model(base))
    bank.activate(bank.load(adapter) if adapter else None)
    return np.array(bank.base.model(mx.array(TOKENS)))


def apart(one: Any, other: Any) -> float:
    return float(np.abs(one - other).max())


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_ours_worn_by_transformers(base: Path, kind: str, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "run" / "adapter", base, kind)
    to_peft(adapter, tmp_path / "out", str(base), base)
    found = torch_logits(peft.PeftModel.from_pretrained(torch_base(base), tmp_path / "out"))
    assert apart(found, mlx_logits(base, adapter)) < CLOSE
    assert apart(found, mlx_logits(base, None)) > 0.5


@pytest.mark.parametrize(
    "part",
    [
        {"layers": [1]},
        {"last_names": ["q_proj", "v_proj"]},
        {"layers": [0], "last_names": ["down_proj"]},
        {"last_names": ["lm_head"]},
        {"layers": [1], "last_names": ["gate_proj"], "kind": "dora"},
    ],
)
def test_parts_of_a_model_worn_by_transformers(llama: Path, part: dict[str, Any], tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "run" / "adapter", llama, **part)
    to_peft(adapter, tmp_path / "out", str(llama), llama)
    model = peft.PeftModel.from_pretrained(torch_base(llama), tmp_path / "out")
    worn = [name for name, module in model.named_modules() if hasattr(module, "lora_A")]
    assert len(worn) == len(mx.load(str(adapter / "adapters.safetensors"))) // (3 if part.get("kind") == "dora" else 2)
    assert apart(torch_logits(model), mlx_logits(llama, adapter)) < CLOSE


def shake(model: Any) -> None:
    """Give every part of an adapter numbers as if it were trained."""
    torch.manual_seed(11)
    for name, parameter in model.named_parameters():
        if "lora_magnitude" in name:
            parameter.data *= 1 + 0.1 * torch.randn_like(parameter)
        elif "lora_" in name:
            parameter.data = torch.randn_like(parameter) * (0.06 if "lora_A" in name else 0.2)


SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True, "lora_alpha": 4},
    "rank and alpha patterns": {"rank_pattern": {"v_proj": 3, r"^model\.layers\.1\..*q_proj": 9}, "alpha_pattern": {"mlp.*": 40}},
    "dora of patterns": {"use_dora": True, "rank_pattern": {"q_proj": 3}, "alpha_pattern": {"layers.0.self_attn.q_proj": 2}},
    "one layer": {"layers_to_transform": [1], "target_modules": ["q_proj", "o_proj"]},
    "the head": {"target_modules": ["lm_head", "k_proj"]},
    "modules by an expression": {"target_modules": r".*\.layers\.1\.(self_attn\.k_proj|mlp\.down_proj)"},
    "another beginning": {"init_lora_weights": "gaussian"},
}


@pytest.fixture
def made_by_peft(tmp_path: Path) -> Callable[..., tuple[Any, Path]]:
    def make(base: Path, **settings: Any) -> tuple[Any, Path]:
        """Return the logits of a model that wears a new adapter, and the folder that PEFT wrote of it."""
        config = peft.LoraConfig(**({"r": 5, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | settings))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of peft's own, about patterns
            model = peft.get_peft_model(torch_base(base), config)
            shake(model)
            model.save_pretrained(tmp_path / "peft", save_embedding_layers=False)
        return torch_logits(model), tmp_path / "peft"

    return make


@pytest.mark.parametrize("name", SETTINGS)
def test_peft_s_worn_by_mlx(llama: Path, name: str, made_by_peft: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    logits, folder = made_by_peft(llama, **SETTINGS[name])
    from_peft(folder, tmp_path / "ours", llama)
    assert apart(logits, mlx_logits(llama, tmp_path / "ours")) < CLOSE
    assert apart(logits, mlx_logits(llama, None)) > 0.1


def test_peft_s_worn_by_every_architecture(base: Path, made_by_peft: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    logits, folder = made_by_peft(base, use_dora=True)
    from_peft(folder, tmp_path / "ours", base)
    assert apart(logits, mlx_logits(base, tmp_path / "ours")) < CLOSE


def test_there_and_back_through_peft_itself(llama: Path, made_by_peft: Callable[..., tuple[Any, Path]], tmp_path: Path) -> None:
    """Ranks that differ are filled up on the way in; on the way out they are of one rank, and the answers are the same."""
    logits, folder = made_by_peft(llama, rank_pattern={"v_proj": 3}, use_rslora=True)
    from_peft(folder, tmp_path / "run" / "adapter", llama)
    to_peft(tmp_path / "run" / "adapter", tmp_path / "again", str(llama), llama)
    again = peft.PeftModel.from_pretrained(torch_base(llama), tmp_path / "again")
    assert apart(logits, torch_logits(again)) < CLOSE
