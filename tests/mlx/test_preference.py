"""DPO and ORPO on the real loop with the shipped model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.mlx.conftest import read_lines
from tunesmith.data.pairs import encode_pair
from tunesmith.errors import UserError
from tunesmith.models.loading import LoadedModel
from tunesmith.settings.files import from_mapping
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL
from tunesmith.training.config import TrainConfig
from tunesmith.training.methods.preference import method_of, pair_figures
from tunesmith.training.preference_math import PairSums
from tunesmith.training.run import train

PAIRS = DEMO_DATA / "preference"
COMMON: dict[str, Any] = {
    "iters": 10, "batch_size": 4, "learning_rate": 2e-3, "max_seq_length": 128, "steps_per_report": 1, "steps_per_eval": 100,
    "val_batches": 2, "save_every": 100, "lora_parameters": {"rank": 8, "scale": 4.0}, "seed": 1,
}  # fmt: skip


def run(folder: Path, method: str, preference: dict[str, Any] | None = None, data: Path = PAIRS, **changes: Any) -> list[dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    config = from_mapping(TrainConfig, {"method": method, **COMMON, **changes, "preference": preference or {}})
    assert train(config, DEMO_MODEL, PAIRS, folder, lambda: "") == "completed"
    return [line for line in read_lines(folder / "metrics.jsonl") if "train_loss" in line]


def adapter(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    weights: Any = mx.load(str(folder / "adapter" / "adapters.safetensors"))
    return {name: np.array(weight) for name, weight in weights.items()}


@pytest.mark.parametrize(("loss", "first"), [("sigmoid", math.log(2)), ("robust", math.log(2)), ("hinge", 1.0), ("ipo", 25.0)])
def test_dpo_begins_at_the_base_and_learns(tmp_path: Path, loss: str, first: float) -> None:
    """An adapter of zeros is the reference: every margin is 0, so −log σ(0) = ln 2, max(0, 1 − 0) = 1, (0 − 1/(2·0.1))² = 25."""
    reports = run(tmp_path / "run", "dpo", {"loss_type": loss})
    assert reports[0]["train_loss"] == pytest.approx(first, rel=1e-5)
    assert reports[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert reports[-1]["train_loss"] < 0.9 * first
    assert np.mean([r["reward_accuracy"] for r in reports[-5:]]) > 0.8
    assert reports[-1]["reward_margin"] > 0


def test_orpo_needs_no_reference_and_learns(tmp_path: Path) -> None:
    """The base would say the whole sentence (a margin below 0); it learns to prefer the word."""
    reports = run(tmp_path / "run", "orpo", iters=20)
    assert "kl" not in reports[-1]
    assert reports[-1]["train_loss"] < reports[0]["train_loss"]
    validated = [line for line in read_lines(tmp_path / "run" / "metrics.jsonl") if "val_margin" in line]
    assert validated[0]["val_margin"] < 0
    assert validated[-1]["val_margin"] > validated[0]["val_margin"] + 0.2


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_small_passes_give_the_same_step(tmp_path: Path, method: str) -> None:
    for name, tokens in (("small", 40), ("whole", 100_000)):
        run(tmp_path / name, method, iters=1, pass_tokens=tokens, optimizer="sgd")
    small, whole = adapter(tmp_path / "small"), adapter(tmp_path / "whole")
    assert max(float(np.abs(small[name] - whole[name]).max()) for name in whole) < 1e-5


def test_accumulation_is_one_large_batch(tmp_path: Path) -> None:
    run(tmp_path / "one", "dpo", iters=1, optimizer="sgd")
    run(tmp_path / "many", "dpo", iters=1, optimizer="sgd", batch_size=2, grad_accumulation_steps=2)
    one, many = adapter(tmp_path / "one"), adapter(tmp_path / "many")
    assert max(float(np.abs(one[name] - many[name]).max()) for name in one) < 1e-5


def test_a_pair_differs_in_what_is_learned_alone(base: LoadedModel) -> None:
    pair = encode_pair({"prompt": "Opposite of open?", "chosen": "closed", "rejected": "blue"}, base.tokenizer)
    begin = pair.chosen.supervised.index(True)
    assert pair.chosen.ids[:begin] == pair.rejected.ids[:begin]
    assert not any(pair.rejected.supervised[:begin])
    assert pair.chosen.learns_to_end(base.tokenizer.eos_token_id)
    assert pair.chosen.ids != pair.rejected.ids


def test_label_smoothing_without_effect_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        run(tmp_path / "run", "dpo", {"loss_type": "ipo", "label_smoothing": 0.1})
    assert caught.value.code == "label_smoothing_without_effect"


LONG_AND_SHORT = PairSums(*(mx.array([value]) for value in (-20.0, -15.0, 0.0, 0.0, 40.0, 5.0)))  # 40 tokens of -0.5, 5 of -3.0


@pytest.mark.parametrize(
    ("method", "loss", "rewards"),
    [("orpo", "sigmoid", (-0.05, -0.3)), ("dpo", "ipo", (-0.05, -0.3)), ("dpo", "sigmoid", (-2.0, -1.5)), ("dpo", "hinge", (-2.0, -1.5))],
)
def test_figures_compare_what_the_loss_compares(method: str, loss: str, rewards: tuple[float, float]) -> None:
    """By tokens 0.1 x -0.5 = -0.05 and 0.1 x -3 = -0.3: the chosen one is ahead by 0.25. By sums 0.1 x -20 = -2 and -1.5: it is behind."""
    config = from_mapping(TrainConfig, {"method": method, "preference": {"loss_type": loss}})
    found = {name: value.item() for name, value in pair_figures(LONG_AND_SHORT, method_of(config), 0.1).items()}
    assert (found["reward_chosen"], found["reward_rejected"]) == pytest.approx(rewards)
    assert found["reward_margin"] == pytest.approx(rewards[0] - rewards[1])
    assert found["reward_accuracy"] == (rewards[0] > rewards[1])
    assert found.get("kl") == (pytest.approx(-0.5) if method == "dpo" else None)
