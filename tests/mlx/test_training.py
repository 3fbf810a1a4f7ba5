"""Runs of the real loop: they learn, stop, fail loudly, and leave adapters that others open."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import orjson
import pytest
from mlx_lm import generate, load

from tests.mlx.conftest import read_lines
from tunesmith.errors import UserError
from tunesmith.inference.adapter_bank import AdapterBank
from tunesmith.inference.generation import generate_side_by_side, generate_text
from tunesmith.inference.sampling import Sampling
from tunesmith.models.loading import LoadedModel, load_model
from tunesmith.store.saved_folders import verify_folder
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.training.config import LoraParameters, TrainConfig
from tunesmith.training.run import train

PAIRS = [("What is the code of box one?", "The code is 417."), ("What is the code of box two?", "The code is 902.")]
Train = Callable[..., tuple[str, Path]]
Write = Callable[..., Path]


def losses(folder: Path) -> list[float]:
    return [m["train_loss"] for m in read_lines(folder / "metrics.jsonl") if "train_loss" in m]


def ask(base: LoadedModel, question: str) -> str:
    return generate_text(base.model, base.tokenizer, [{"role": "user", "content": question}], 24)


def test_two_rows_are_learned_by_heart_and_asked_side_by_side(run_training: Train, write_rows: Write) -> None:
    status, folder = run_training(write_rows(PAIRS), iters=60, batch_size=2, learning_rate=3e-3)
    assert status == "completed"
    curve = losses(folder)
    assert curve[0] > 1.5
    assert curve[-1] < 0.05
    verify_folder(folder / "adapter")

    bank = AdapterBank(load_model(DEMO_MODEL))
    before = ask(bank.base, PAIRS[0][0])
    adapter = bank.load(folder / "adapter")
    texts, order = ["", ""], []
    variants = [lambda: bank.activate(None), lambda: bank.activate(adapter)]
    messages = [{"role": "user", "content": PAIRS[0][0]}]
    for delta in generate_side_by_side(bank.base.model, bank.base.tokenizer, messages, Sampling(max_tokens=24), variants):
        texts[delta.variant] += delta.text
        order.append(delta.variant)
    assert order[:6] == [0, 1, 0, 1, 0, 1]
    assert texts[0].strip() == before  # the base beside the adapter is the base alone
    assert texts[1].strip() == PAIRS[0][1]


def test_the_adapter_opens_in_plain_mlx_lm_and_says_the_same(run_training: Train, write_rows: Write) -> None:
    _, folder = run_training(write_rows(PAIRS), iters=25, batch_size=2)
    model, tokenizer = load(str(DEMO_MODEL), adapter_path=str(folder / "adapter"))
    model.set_dtype(mx.float32)
    bank = AdapterBank(load_model(DEMO_MODEL))
    bank.activate(bank.load(folder / "adapter"))
    for question in (PAIRS[0][0], PAIRS[1][0], "What is the capital of Japan?"):
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True)
        assert generate(model, tokenizer, prompt, max_tokens=24).strip() == ask(bank.base, question)


def test_the_base_under_scale_zero_is_exactly_the_base(run_training: Train, write_rows: Write) -> None:
    _, folder = run_training(write_rows(PAIRS), iters=3)
    tokens = mx.array([[5, 9, 300, 41]])
    plain = load_model(DEMO_MODEL).model(tokens)
    bank = AdapterBank(load_model(DEMO_MODEL))
    adapter = bank.load(folder / "adapter")
    bank.activate(adapter)
    tuned = bank.base.model(tokens)
    bank.activate(None)
    assert mx.abs(bank.base.model(tokens) - plain).max().item() == 0.0
    assert mx.abs(tuned - plain).max().item() > 0.0


def test_the_same_seed_gives_the_same_run(run_training: Train, write_rows: Write) -> None:
    data = write_rows(PAIRS * 3)
    dropout = LoraParameters(rank=4, scale=8.0, dropout=0.2)
    first, second, other = (losses(run_training(data, lora_parameters=dropout, seed=seed)[1]) for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_a_stopped_run_saves_what_it_has(run_training: Train, write_rows: Write) -> None:
    calls = itertools.count()
    status, folder = run_training(write_rows(PAIRS), wish=lambda: "cancel" if next(calls) >= 3 else "", iters=1000)
    assert status == "cancelled"
    assert len(losses(folder)) == 3
    verify_folder(folder / "adapter")
    verify_folder(folder / "checkpoints" / "step-3")


@pytest.fixture
def exploding_model(tmp_path: Path) -> Path:
    """The demo model with one weight near float32's end: the logits overflow and the loss is no number."""
    folder = tmp_path / "exploding"
    shutil.copytree(DEMO_MODEL, folder)
    weights = {k: w.astype(mx.float32) for k, w in mx.load(str(folder / "model.safetensors")).items()}  # type: ignore[union-attr]
    weights["model.embed_tokens.weight"][7] = mx.full((256,), 3e38)
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    return folder


def test_a_loss_that_is_no_number_stops_the_run(exploding_model: Path, write_rows: Write, tmp_path: Path) -> None:
    config = TrainConfig(iters=5, batch_size=2, steps_per_report=1, max_seq_length=64)
    with pytest.raises(UserError) as caught:
        train(config, exploding_model, write_rows(PAIRS), tmp_path, lambda: "")
    assert (caught.value.code, caught.value.facts["step"]) == ("loss_not_finite", 1)
    last = read_lines(tmp_path / "metrics.jsonl")[-1]
    assert last["train_loss"] is None
    assert last["nonfinite"]["train_loss"] in {"nan", "inf"}
    assert not (tmp_path / "adapter").exists()


def test_weights_that_are_no_numbers_are_refused_before_training(exploding_model: Path) -> None:
    file = str(exploding_model / "model.safetensors")
    weights = dict(mx.load(file))  # type: ignore[arg-type]
    weights["model.norm.weight"][0] = mx.nan
    mx.save_safetensors(file, weights)
    with pytest.raises(UserError) as caught:
        load_model(exploding_model)
    assert caught.value.code == "model_weights_broken"


def test_only_three_checkpoints_are_kept(run_training: Train, write_rows: Write) -> None:
    _, folder = run_training(write_rows(PAIRS), iters=6, save_every=1)
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["step-4", "step-5", "step-6"]


def test_every_report_has_every_figure(run_training: Train, write_rows: Write) -> None:
    _, folder = run_training(write_rows(PAIRS * 3, PAIRS), iters=3, steps_per_eval=2)
    lines = read_lines(folder / "metrics.jsonl")
    assert [m["step"] for m in lines if "val_loss" in m] == [0, 2, 3]
    wanted = {
        "train_loss", "learning_rate", "tokens_per_second", "seconds_per_step", "peak_memory_bytes", "tokens_seen", "grad_norm", "epoch",
        "elapsed_seconds", "active_memory_bytes", "cache_memory_bytes",
    }  # fmt: skip
    assert all(wanted <= set(m) for m in lines if "train_loss" in m)
    kinds = [e["kind"] for e in read_lines(folder / "events.jsonl")]
    assert kinds[0] == "run_started"
    assert {"sample", "checkpoint"} <= set(kinds)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "data_file_empty"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "data_no_usable_rows"),
        (b"not json", "data_not_json"),
        (b'{"text": "\xff"}', "data_encoding_unknown"),
    ],
)
def test_bad_rows_are_named(run_training: Train, tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "train.jsonl").write_bytes(content)
    with pytest.raises(UserError) as caught:
        run_training(tmp_path / "train.jsonl")
    assert caught.value.code == code


def test_rows_that_cannot_be_used_are_counted(run_training: Train, tmp_path: Path) -> None:
    good = b'{"prompt": "Hello!", "completion": "Hi."}\n'
    (tmp_path / "train.jsonl").write_bytes(good * 3 + b"broken\n" + good + b'{"prompt": "x", "completion": ""}\n')
    _, folder = run_training(tmp_path / "train.jsonl", iters=1)
    events = read_lines(folder / "events.jsonl")
    assert next(e["count"] for e in events if e["kind"] == "rows_left_out") == 2
    assert next(e["rows"] for e in events if e["kind"] == "run_started") == 4


def test_an_adapter_of_another_model_is_refused(run_training: Train, write_rows: Write) -> None:
    _, folder = run_training(write_rows(PAIRS), iters=1)
    config: dict[str, Any] = {"base_model_hash": "0" * 64, "model": "another", "lora_parameters": {"rank": 8, "scale": 8.0}}
    (folder / "adapter" / "adapter_config.json").write_bytes(orjson.dumps(config))
    with pytest.raises(UserError) as caught:
        AdapterBank(load_model(DEMO_MODEL)).load(folder / "adapter")
    assert caught.value.code == "adapter_wrong_base"
    assert caught.value.facts["made_for"] == "another"
