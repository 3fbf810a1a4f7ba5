"""Ways of tuning: what is trainable, what mlx-lm opens, accumulation, early stop, best, health."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten, tree_map
from mlx_lm.tuner.utils import load_adapters

from tests.mlx.conftest import read_lines
from tunesmith.errors import UserError
from tunesmith.inference.adapter_bank import AdapterBank
from tunesmith.models.adapter_files import WEIGHTS
from tunesmith.models.loading import load_model
from tunesmith.models.tuning import checkpoint_layers, find_lora_keys, make_trainable, quantize_base
from tunesmith.store.saved_folders import verify_folder
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.training.config import LoraParameters
from tunesmith.training.health import Health

PAIRS = [(f"What is the code of box {n}?", f"The code is {n * 37}.") for n in range(8)]
TOKENS = mx.array([[5, 9, 300, 41, 77]])
WILD = LoraParameters(rank=8, scale=1000.0)
Train = Callable[..., tuple[str, Path]]
Write = Callable[..., Path]


def weights(folder: Path) -> dict[str, Any]:
    return dict(mx.load(str(folder / WEIGHTS)))  # type: ignore[arg-type]


def losses(folder: Path, name: str = "train_loss") -> list[float]:
    return [m[name] for m in read_lines(folder / "metrics.jsonl") if name in m]


def kinds(folder: Path) -> list[str]:
    return [e["kind"] for e in read_lines(folder / "events.jsonl")]


@pytest.mark.parametrize("kind", ["lora", "dora", "full"])
def test_each_kind_learns_and_opens_in_mlx_lm_and_in_the_bank(run_training: Train, write_rows: Write, kind: str) -> None:
    rate = 1e-3 if kind != "full" else 3e-4
    _, folder = run_training(write_rows(PAIRS[:2]), iters=12, batch_size=2, fine_tune_type=kind, learning_rate=rate)
    assert losses(folder)[-1] < 0.7 * losses(folder)[0]
    stock = load_model(DEMO_MODEL).model
    load_adapters(stock, str(folder / "adapter"))
    stock.eval()
    bank = AdapterBank(load_model(DEMO_MODEL))
    plain = bank.base.model(TOKENS)
    adapter = bank.load(folder / "adapter")
    bank.activate(adapter)
    assert float(mx.abs(bank.base.model(TOKENS) - stock(TOKENS)).max()) < 1e-4
    assert float(mx.abs(bank.base.model(TOKENS) - plain).max()) > 1e-2
    bank.activate(None)
    assert float(mx.abs(bank.base.model(TOKENS) - plain).max()) == 0.0


def test_adapters_of_all_kinds_share_one_base(run_training: Train, write_rows: Write) -> None:
    data = write_rows(PAIRS[:2])
    folders = [run_training(data, iters=2, batch_size=2, fine_tune_type=kind)[1] / "adapter" for kind in ("lora", "full", "dora")]
    bank = AdapterBank(load_model(DEMO_MODEL))
    plain = bank.base.model(TOKENS)
    adapters = [bank.load(folder) for folder in folders]

    def worn(number: int) -> mx.array:
        bank.activate(adapters[number])
        answer = bank.base.model(TOKENS)
        mx.eval(answer)
        return answer

    first = [worn(n) for n in range(3)]
    for order in itertools.permutations(range(3)):
        for number in order:
            assert mx.array_equal(worn(number), first[number]).item()
    bank.activate(None)
    assert mx.array_equal(bank.base.model(TOKENS), plain).item()


@pytest.mark.parametrize("kind", ["8-bit", "mxfp4"])
def test_a_quantised_base_learns(run_training: Train, write_rows: Write, kind: str) -> None:
    _, folder = run_training(write_rows(PAIRS[:2]), iters=12, batch_size=2, quantize=kind)
    assert losses(folder)[-1] < 0.7 * losses(folder)[0]
    assert all(name.rsplit(".", 1)[1] in {"lora_a", "lora_b"} for name in weights(folder / "adapter"))


def test_full_tuning_of_a_quantised_base_is_refused(run_training: Train, write_rows: Write) -> None:
    with pytest.raises(UserError) as caught:
        run_training(write_rows(PAIRS[:2]), quantize="8-bit", fine_tune_type="full")
    assert caught.value.code == "full_tuning_of_quantized"


def test_a_base_without_fitting_layers_is_not_quantised() -> None:
    with pytest.raises(UserError) as caught:
        quantize_base(nn.Sequential(nn.Linear(30, 8)), "8-bit")
    assert caught.value.code == "model_cannot_be_quantized"


def test_modules_are_picked_by_name() -> None:
    model = load_model(DEMO_MODEL).model
    every = find_lora_keys(model, "all")
    assert find_lora_keys(model, "attention") + find_lora_keys(model, "mlp") == sorted(every, key=lambda k: k.startswith("mlp"))
    assert find_lora_keys(model, "custom", ["mlp.up_proj"]) == ["mlp.up_proj"]
    with pytest.raises(UserError) as caught:
        find_lora_keys(model, "custom", ["mlp.no_proj"])
    assert caught.value.code == "modules_unknown"
    assert "mlp.up_proj" in str(caught.value.facts["known"])


def test_rank_stabilised_scale_by_hand() -> None:
    """alpha = scale x rank = 32; 32 / 16 = 2 without, 32 / sqrt(16) = 8 with rank stabilisation."""
    assert LoraParameters(rank=16, scale=2.0).effective_scale == 2.0
    assert LoraParameters(rank=16, scale=2.0, rslora=True).effective_scale == 8.0


def test_accumulated_batches_are_one_large_batch(run_training: Train, write_rows: Write) -> None:
    """Rows of very different lengths: a mean of means would differ by percents. Tolerance 1e-5 for another order of summation."""
    pairs = [(q, a if n % 2 else a * 9) for n, (q, a) in enumerate(PAIRS)]
    data = write_rows(pairs)
    _, large = run_training(data, batch_size=8, iters=4)
    _, small = run_training(data, batch_size=2, grad_accumulation_steps=4, iters=4)
    assert losses(small) == pytest.approx(losses(large), rel=1e-5)
    assert losses(small, "grad_norm") == pytest.approx(losses(large, "grad_norm"), rel=1e-4)


def test_gradient_checkpointing_computes_the_same_and_leaves_the_classes_alone(run_training: Train, write_rows: Write) -> None:
    data = write_rows(PAIRS)
    _, plain = run_training(data, iters=3)
    _, checkpointed = run_training(data, iters=3, grad_checkpoint=True)
    assert losses(checkpointed) == pytest.approx(losses(plain), rel=1e-5)
    one, other = load_model(DEMO_MODEL).model, load_model(DEMO_MODEL).model
    kind, call = type(one.layers[0]), type(one.layers[0]).__call__
    checkpoint_layers(one)
    assert type(other.layers[0]) is kind
    assert kind.__call__ is call
    assert [n for n, _ in tree_flatten(one.parameters())] == [n for n, _ in tree_flatten(other.parameters())]


def gradient_with_dropout(checkpointed: bool) -> tuple[float, float, float]:
    """Return the loss, the slope along its gradient, and that slope measured from the losses on both sides."""
    model = load_model(DEMO_MODEL).model
    mx.random.seed(0)
    make_trainable(model, "lora", -1, {"rank": 4, "scale": 4.0, "dropout": 0.3, "keys": find_lora_keys(model, "all")})
    for module in model.modules():
        if hasattr(module, "lora_b"):
            module.lora_b = mx.random.normal(module.lora_b.shape) * 0.05
    if checkpointed:
        checkpoint_layers(model, dropout=0.3)
    model.train()
    tokens = mx.arange(5, 40)[None]

    def loss_of(model: Any) -> mx.array:
        mx.random.seed(9)
        return nn.losses.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:]).sum()

    loss, gradient = nn.value_and_grad(model, loss_of)(model)
    parameters = model.trainable_parameters()
    slope = sum(float((part * part).sum()) for _, part in tree_flatten(gradient))
    move = 1e-3 / slope**0.5
    sides = []
    for signed in (move, -move):
        model.update(tree_map(lambda own, part, by=signed: own + by * part, parameters, gradient))
        sides.append(float(loss_of(model)))
    return float(loss), slope, (sides[0] - sides[1]) / (2 * move)


def test_the_gradient_of_checkpointed_blocks_with_dropout_is_that_of_their_loss() -> None:
    loss, slope, measured = gradient_with_dropout(checkpointed=True)
    assert slope == pytest.approx(measured, rel=1e-2)
    assert (loss, slope) == pytest.approx(gradient_with_dropout(checkpointed=False)[:2], rel=1e-5)


def test_passes_of_a_step_with_checkpointed_dropout_leave_out_what_they_would_without(run_training: Train, write_rows: Write) -> None:
    data = write_rows(PAIRS)
    lora = LoraParameters(rank=8, scale=8.0, dropout=0.3)
    settings: dict[str, Any] = {"iters": 3, "batch_size": 2, "grad_accumulation_steps": 2, "lora_parameters": lora}
    _, plain = run_training(data, **settings)
    _, checkpointed = run_training(data, grad_checkpoint=True, **settings)
    assert losses(checkpointed) == pytest.approx(losses(plain), rel=1e-4)


def test_gradient_checkpointing_takes_less_memory() -> None:
    def peak(checkpointed: bool) -> int:
        base = load_model(DEMO_MODEL)
        make_trainable(base.model, "lora", -1, {"rank": 4, "scale": 4.0, "dropout": 0.0, "keys": find_lora_keys(base.model, "all")})
        if checkpointed:
            checkpoint_layers(base.model)
        tokens = mx.random.randint(0, 1000, (8, 257))
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        gradient = nn.value_and_grad(base.model, lambda m: nn.losses.cross_entropy(m(tokens[:, :-1]), tokens[:, 1:]).mean())(base.model)
        mx.eval(gradient)
        return int(mx.get_peak_memory() - before)

    assert peak(True) < 0.6 * peak(False)


def test_early_stopping_keeps_the_best(run_training: Train, write_rows: Write) -> None:
    """Trained on one set of codes and validated on others: the validation loss soon rises."""
    data = write_rows(PAIRS, [(q, "No box has such a thing, as everybody knows.") for q, _ in PAIRS[:4]])
    status, folder = run_training(data, iters=60, steps_per_eval=3, patience=2, keep_best=True, learning_rate=3e-3, steps_per_report=3)
    assert status == "completed"
    events = read_lines(folder / "events.jsonl")
    stop = next(e for e in events if e["kind"] == "early_stop")
    values = {m["step"]: m["val_loss"] for m in read_lines(folder / "metrics.jsonl") if "val_loss" in m}
    assert stop["step"] < 60
    assert stop["best_step"] == min(values, key=lambda s: values[s])
    assert stop["step"] == max(values)
    if stop["best_step"]:
        verify_folder(folder / "best")
        best, adapter = weights(folder / "best"), weights(folder / "adapter")
        assert all(mx.array_equal(best[name], adapter[name]).item() for name in best)


def test_the_best_state_becomes_the_adapter(run_training: Train, write_rows: Write) -> None:
    data = write_rows(PAIRS, PAIRS[:4])
    _, folder = run_training(data, iters=20, steps_per_eval=5, keep_best=True, learning_rate=2e-3)
    values = {m["step"]: m["val_loss"] for m in read_lines(folder / "metrics.jsonl") if "val_loss" in m}
    assert next(e["step"] for e in read_lines(folder / "events.jsonl") if e["kind"] == "best_kept") == min(values, key=lambda s: values[s])


def test_epochs_decide_the_length(run_training: Train, write_rows: Write) -> None:
    _, folder = run_training(write_rows(PAIRS), iters=500, epochs=1.5, batch_size=3)
    lines = read_lines(folder / "metrics.jsonl")
    assert max(m["step"] for m in lines) == 5  # 3 steps see the 8 rows once; one and a half times: 4.5
    assert lines[-1].get("steps_planned", 5) == 5


@pytest.mark.parametrize(("overlong", "rows"), [("cut", 3), ("drop", 2), ("split", 4)])
def test_rows_over_the_maximum_length(run_training: Train, write_rows: Write, overlong: str, rows: int) -> None:
    data = write_rows([*PAIRS[:2], ("Say a lot.", "many words " * 25)])
    _, folder = run_training(data, iters=1, overlong=overlong, max_seq_length=64)
    events = read_lines(folder / "events.jsonl")
    assert next(e["count"] for e in events if e["kind"] == f"rows_{overlong}") == 1
    started = next(e for e in events if e["kind"] == "run_started")
    assert started["rows"] == rows if overlong != "split" else started["rows"] >= rows


def test_more_processes_in_the_batch_than_rows(run_training: Train, write_rows: Write) -> None:
    status, folder = run_training(write_rows(PAIRS[:2]), batch_size=16, iters=3)
    assert status == "completed"
    assert len(losses(folder)) == 3


def test_a_loss_that_explodes_stops_the_run_and_keeps_the_last_good_state(run_training: Train, write_rows: Write, tmp_path: Path) -> None:
    """A rate and a scale far too large: after some steps it is much worse than guessing."""
    folder = tmp_path / "exploding"
    with pytest.raises(UserError) as caught:
        run_training(write_rows(PAIRS, PAIRS[:2]), again=folder, iters=50, learning_rate=0.3, grad_clip=0.0, lora_parameters=WILD, seed=0)
    assert caught.value.code == "loss_exploded"
    assert int(str(caught.value.facts["step"])) > 1
    verify_folder(folder / "adapter")
    assert kinds(folder)[-1] == "kept_last_good"


def test_weights_that_are_no_numbers_are_not_kept(run_training: Train, write_rows: Write, tmp_path: Path) -> None:
    """An infinite rate: the first step's update leaves infinities, which the second step's loss shows."""
    folder = tmp_path / "infinite"
    with pytest.raises(UserError) as caught:
        run_training(write_rows(PAIRS[:2]), again=folder, learning_rate=1e39)
    assert caught.value.code == "loss_not_finite"
    assert caught.value.facts["step"] == 2
    assert not (folder / "adapter").exists()
    assert "kept_last_good" not in kinds(folder)


def told(loss: float, grad_norm: float, seconds: float) -> dict[str, float]:
    return {"train_loss": loss, "grad_norm": grad_norm, "seconds_per_step": seconds}


def test_alerts_by_hand() -> None:
    health = Health()
    for step, loss in enumerate((2.0, 1.0, 0.5)):
        assert not health.after_report(step, told(loss, 1.0, 0.1))
    assert not health.after_validation(2, 1.0)
    assert not health.after_validation(3, 1.1)
    assert [a.code for a in health.after_validation(4, 1.2)] == ["alert_overfitting"]
    for step, loss in enumerate((1.0, 1.2), start=4):
        assert not health.after_report(step, told(loss, 1.0, 0.1))
    assert [a.code for a in health.after_report(6, told(1.4, 1.0, 0.1))] == ["alert_diverging"]
    assert not health.after_report(7, told(1.4, 1.0, 0.1))  # each once
    assert not health.after_report(8, told(1.4, 1.0, 0.9))  # one slow report is none
    assert [a.code for a in health.after_report(9, told(1.4, 1.0, 0.9))] == ["alert_slower"]
    for step in (10, 11):
        assert not health.after_report(step, told(1.4, 0.0, 0.1))
    assert [a.code for a in health.after_report(12, told(1.4, 0.0, 0.1))] == ["alert_not_moving"]
