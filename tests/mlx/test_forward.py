"""Packed = padded = mlx-lm, loss and gradients, on tiny models of several architectures; others fall back."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.tuner.trainer import default_loss

from tunesmith.data.batching import BatchRules
from tunesmith.data.templates import Encoded
from tunesmith.models.heads import dense_head_weight, hidden_states, output_head, project
from tunesmith.models.tuning import find_lora_keys, make_trainable
from tunesmith.training.batches import make_batch
from tunesmith.training.cross_entropy import PIECE, summed_cross_entropy, token_log_probabilities
from tunesmith.training.forward import Forward, choose_forward

VOCABULARY = 320
COMMON: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "rms_norm_eps": 1e-6, "vocab_size": VOCABULARY, "rope_theta": 10000.0, "max_position_embeddings": 512, "tie_word_embeddings": True,
}  # fmt: skip
ATTENTION: dict[str, dict[str, Any]] = {"llama": {"tie_word_embeddings": False}, "qwen2": {}, "qwen3": {}, "gemma": {}}
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4


def tiny(model_type: str, **more: Any) -> Any:
    module = import_module(f"mlx_lm.models.{model_type}")
    mx.random.seed(1)
    model = module.Model(module.ModelArgs.from_dict(COMMON | {"model_type": model_type} | more))
    model.load_weights([(name, mx.random.normal(w.shape) * 0.1) for name, w in tree_flatten(model.parameters())])
    mx.eval(model.parameters())
    return model


def rows_of(*lengths: int) -> list[Encoded]:
    """Rows whose second half is supervised."""
    draw = np.random.default_rng(0)
    return [Encoded(draw.integers(1, VOCABULARY, n).tolist(), [i >= n // 2 for i in range(n)]) for n in lengths]


def with_lora(model: Any) -> Any:
    make_trainable(model, "lora", -1, {"rank": 4, "scale": 4.0, "dropout": 0.0, "keys": find_lora_keys(model, "all")})
    for _, module in model.named_modules():
        if hasattr(module, "lora_b"):
            module.lora_b = mx.random.normal(module.lora_b.shape) * 0.1  # zero would hide the gradient of lora_a
    return model


def stock_loss_and_gradient(model: Any, rows: list[Encoded]) -> tuple[float, Any]:
    """The mean by mlx-lm's own default loss; its `lengths` are inclusive, so the last one is the row's length minus one."""
    width = max(len(r.ids) for r in rows)
    tokens = mx.array([r.ids + [0] * (width - len(r.ids)) for r in rows])
    lengths = mx.array([[r.supervised.index(True), len(r.ids) - 1] for r in rows])
    (loss, _), gradient = nn.value_and_grad(model, default_loss)(model, tokens, lengths)
    return float(loss), gradient


def our_loss_and_gradient(model: Any, rows: list[Encoded], forward: Forward) -> tuple[float, Any]:
    batch = make_batch(rows, BatchRules(len(rows), 128, 0, forward.packing))
    assert (batch.segments is not None) == forward.packing
    total, gradient = nn.value_and_grad(model, forward.summed_loss)(model, batch)
    return float(total) / batch.supervised_tokens, nn.utils.tree_map(lambda g: g / batch.supervised_tokens, gradient)


def distance(left: Any, right: Any) -> float:
    """The norm of the difference over the norm, of all gradients together."""
    pairs = list(zip(tree_flatten(left), tree_flatten(right), strict=True))
    assert [a[0] for a, _ in pairs] == [b[0] for _, b in pairs]
    difference = sum(float(((a - b) ** 2).sum()) for (_, a), (_, b) in pairs)
    return float((difference / sum(float((b**2).sum()) for _, (_, b) in pairs)) ** 0.5)


@pytest.mark.parametrize("model_type", ATTENTION)
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_packed_is_padded_is_mlx_lm(model_type: str, tuning: str) -> None:
    model = tiny(model_type, **ATTENTION[model_type])
    rows = rows_of(11, 40, 23, 7, 30)
    chosen, reason = choose_forward(model, rows)
    assert (chosen.packing, chosen.labels_only, reason) == (True, True, "")
    if tuning == "lora":
        with_lora(model)
    else:
        make_trainable(model, "full", -1, {})
    theirs, their_gradient = stock_loss_and_gradient(model, rows)
    for forward in (Forward(), Forward(labels_only=True), chosen, Forward(True, True, chunked=True)):
        ours, our_gradient = our_loss_and_gradient(model, rows, forward)
        assert ours == pytest.approx(theirs, rel=LOSS_TOLERANCE)
        assert distance(our_gradient, their_gradient) < GRADIENT_TOLERANCE


def test_a_sliding_window_is_kept_or_rows_are_padded() -> None:
    """Rows longer than the window of 8: whatever is chosen must give the plain loss."""
    model = with_lora(tiny("gemma3_text", sliding_window=8, sliding_window_pattern=2, num_hidden_layers=3, query_pre_attn_scalar=8))
    rows = rows_of(44, 30, 37)
    chosen, reason = choose_forward(model, rows)
    assert chosen.packing == (reason == "")
    theirs, their_gradient = stock_loss_and_gradient(model, rows)
    ours, our_gradient = our_loss_and_gradient(model, rows, chosen)
    assert ours == pytest.approx(theirs, rel=LOSS_TOLERANCE)
    assert distance(our_gradient, their_gradient) < GRADIENT_TOLERANCE


def test_a_model_without_attention_is_padded() -> None:
    """Mamba carries its state over from row to row: the trial finds it out."""
    model = tiny("mamba", state_size=4, conv_kernel=4, use_bias=False, use_conv_bias=True, time_step_rank=4, layer_norm_epsilon=1e-5)
    rows = rows_of(20, 31)
    chosen, reason = choose_forward(model, rows)
    assert not chosen.packing
    assert reason
    ours, _ = our_loss_and_gradient(model, rows, chosen)
    theirs, _ = stock_loss_and_gradient(model, rows)
    assert ours == pytest.approx(theirs, rel=LOSS_TOLERANCE)


def test_absolute_positions_are_padded() -> None:
    model = tiny("gpt2", n_ctx=128, n_embd=32, n_head=4, n_layer=2, n_positions=128, layer_norm_epsilon=1e-5)
    chosen, reason = choose_forward(model, rows_of(20, 31))
    assert not chosen.packing
    assert reason


def test_chunked_cross_entropy_over_several_pieces() -> None:
    """More rows than one piece, an odd rest, and padding: value and slope against the plain form."""
    draw = mx.random.key(0)
    hidden = mx.random.normal((2 * PIECE + 37, 16), key=draw)
    weight = mx.random.normal((500, 16), key=mx.random.key(1))
    targets = mx.random.randint(0, 500, (hidden.shape[0],), key=mx.random.key(2))
    counts = mx.array(([1.0] * (hidden.shape[0] - 5)) + [0.0] * 5)

    def plain(h: mx.array) -> mx.array:
        return (nn.losses.cross_entropy(h @ weight.T, targets) * counts).sum()

    expected, slope = mx.value_and_grad(plain)(hidden)
    value, chunked = mx.value_and_grad(lambda h: 3 * summed_cross_entropy(h, weight, targets, counts))(hidden)
    assert float(value) == pytest.approx(3 * float(expected), rel=1e-6)
    assert float(mx.abs(chunked - 3 * slope).max()) < 1e-5 * float(mx.abs(3 * slope).max())


def test_the_head_is_found_tied_and_untied() -> None:
    for tied in (True, False):
        model = tiny("llama", tie_word_embeddings=tied)
        tokens = mx.array([[5, 9, 30]])
        hidden = hidden_states(model, tokens)
        head = output_head(model)
        logits = head.as_linear(hidden) if tied else head(hidden)
        assert mx.allclose(logits, model(tokens), atol=1e-5).item()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_token_log_probabilities_in_pieces_are_the_plain_ones(temperature: float) -> None:
    """Over 150 rows and a vocabulary of 5,000: values within 1e-5, gradient of a weighted sum within 1e-5, entropy by its definition."""
    mx.random.seed(0)
    hidden, weight = mx.random.normal((150, 32)), mx.random.normal((5000, 32)) * 0.3
    targets, scale = mx.random.randint(0, 5000, (150,)), mx.random.normal((150,))

    def plain(hidden: mx.array) -> mx.array:
        logits = hidden @ weight.T / temperature
        logs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        return (mx.take_along_axis(logs, targets[:, None], axis=-1)[:, 0] * scale).sum()

    def pieces(hidden: mx.array) -> mx.array:
        return (token_log_probabilities(hidden, weight, targets, temperature)[0] * scale).sum()

    expected, slope = mx.value_and_grad(plain)(hidden)
    found, found_slope = mx.value_and_grad(pieces)(hidden)
    assert abs(float(found - expected)) < 1e-4 * abs(float(expected))
    assert float(mx.abs(found_slope - slope).max()) < 1e-5
    shares = mx.softmax(hidden @ weight.T / temperature, axis=-1)
    entropy = -(shares * mx.log(shares)).sum(axis=-1)
    assert float(mx.abs(token_log_probabilities(hidden, weight, targets, temperature)[1] - entropy).max()) < 1e-3


def test_capped_logits_are_capped_in_both_halves() -> None:
    """Gemma 2 bends its logits (final_logit_softcapping): the two halves give what the whole model gives, and no bare matrix is offered."""
    model = tiny("gemma2", query_pre_attn_scalar=8, attn_logit_softcapping=50.0, final_logit_softcapping=0.5)
    ids = mx.array([[3, 1, 4, 1, 5]])
    whole = model(ids)[0]
    halves = project(model, hidden_states(model, ids)[0])
    assert float(mx.abs(whole - halves).max()) < 1e-5
    assert float(mx.abs(whole).max()) <= 0.5
    assert dense_head_weight(model) is None
