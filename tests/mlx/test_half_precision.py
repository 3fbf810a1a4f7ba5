"""Full tuning of a base that is held in half precision, as it is off a CPU: what is trained and kept is float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import load_adapters

from tunesmith.inference.adapter_bank import AdapterBank
from tunesmith.models.adapter_files import CONFIG, WEIGHTS, save_folder
from tunesmith.models.heads import hidden_states
from tunesmith.models.loading import LoadedModel, load_model
from tunesmith.models.tuning import make_trainable, put_weights
from tunesmith.store.files import read_json
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.training import prepare

PAIRS = [(f"What is the code of box {n}?", f"The code is {n * 37}.") for n in range(4)]
TOKENS = mx.array([[5, 9, 300, 41, 77]])
FULL: dict[str, Any] = {"fine_tune_type": "full", "num_layers": 1, "learning_rate": 1e-5}
Train = Callable[..., tuple[str, Path]]
Write = Callable[..., Path]


def load_half(dtype: mx.Dtype) -> LoadedModel:
    base = load_model(DEMO_MODEL)
    base.model.set_dtype(dtype)
    mx.eval(base.model.parameters())
    return base


@pytest.fixture(params=[mx.float16, mx.bfloat16], ids=["float16", "bfloat16"])
def half(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> mx.Dtype:
    """The precision that every base of the test is held in."""
    dtype: mx.Dtype = request.param
    monkeypatch.setattr(prepare, "load_model", lambda _: load_half(dtype))
    return dtype


def weights(folder: Path) -> dict[str, mx.array]:
    return dict(mx.load(str(folder / WEIGHTS)))  # type: ignore[arg-type]


def test_small_steps_move_the_weights_which_open_everywhere(half: mx.Dtype, run_training: Train, write_rows: Write) -> None:
    """At a rate of 1e-5 an update is below what half precision tells apart of most weights."""
    status, folder = run_training(write_rows(PAIRS), iters=3, **FULL)
    assert status == "completed"
    first, tuned = dict(tree_flatten(load_half(half).model.parameters())), weights(folder / "adapter")
    assert all(array.dtype == mx.float32 and mx.all(mx.isfinite(array)).item() for array in tuned.values())
    moved = sum(int((array != first[name].astype(mx.float32)).sum()) for name, array in tuned.items())
    assert moved > 0.9 * sum(array.size for array in tuned.values())
    stock, bank = load_half(half).model, AdapterBank(load_half(half))
    load_adapters(stock, str(folder / "adapter"))
    bank.activate(bank.load(folder / "adapter"))
    assert {array.dtype for _, array in tree_flatten(bank.base.model.parameters())} == {half}
    expected = stock(TOKENS)
    assert float(mx.abs(bank.base.model(TOKENS) - expected).max()) < 0.05 * float(mx.abs(expected).max())


def test_a_paused_run_goes_on_as_if_it_had_not_been(half: mx.Dtype, run_training: Train, write_rows: Write) -> None:
    del half
    data = write_rows(PAIRS)
    _, whole = run_training(data, iters=3, **FULL)
    wishes = iter(["", "pause"])
    run_training(data, iters=3, wish=lambda: next(wishes, ""), **FULL)
    parts = whole.parent / "run-2"
    run_training(data, iters=3, again=parts, **FULL)
    one, other = weights(whole / "adapter"), weights(parts / "adapter")
    assert all(mx.array_equal(one[name], other[name]).item() for name in one)


def test_a_run_that_begins_from_a_half_precision_adapter_trains_in_float32(
    half: mx.Dtype, run_training: Train, write_rows: Write, tmp_path: Path
) -> None:
    data = write_rows(PAIRS)
    _, folder = run_training(data, iters=1, **FULL)
    second = tmp_path / "second"
    second.mkdir()
    rounded = {name: array.astype(half) for name, array in weights(folder / "adapter").items()}
    save_folder(second / "begin", {WEIGHTS: rounded}, {CONFIG: read_json(folder / "adapter" / CONFIG)})
    run_training(data, iters=1, again=second, **FULL)
    tuned = weights(second / "adapter")
    assert {array.dtype for array in tuned.values()} == {mx.float32}
    assert 0 < max(float(mx.abs(array - rounded[name].astype(mx.float32)).max()) for name, array in tuned.items()) < 1e-4


def test_weights_are_put_in_the_precision_of_those_they_replace(half: mx.Dtype) -> None:
    model = load_half(half).model
    make_trainable(model, "full", 1, {})
    own = dict(tree_flatten(model.trainable_parameters()))
    put_weights(model, {name: (array + 1).astype(half) for name, array in own.items()})
    assert {array.dtype for _, array in tree_flatten(model.trainable_parameters())} == {mx.float32}
    assert {array.dtype for array in (model.layers[0].mlp.up_proj.weight, model.model.embed_tokens.weight)} == {half}


def test_the_head_is_given_its_own_precision(half: mx.Dtype) -> None:
    """It would be copied into float32 as a whole, at every use."""
    model = load_half(half).model
    make_trainable(model, "full", 1, {})
    assert model.model(TOKENS).dtype == mx.float32
    assert hidden_states(model, TOKENS).dtype == half
