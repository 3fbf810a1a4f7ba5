"""The loss against mlx-lm's own on the same tokens, and batches that lose nothing."""

from __future__ import annotations

import math

import mlx.core as mx
import pytest
from mlx_lm.tuner.trainer import default_loss

from tunesmith.data.batching import BatchRules
from tunesmith.data.templates import Encoded, encode_row
from tunesmith.models.loading import LoadedModel
from tunesmith.training.batches import batches_of_step, make_batch
from tunesmith.training.config import TrainConfig
from tunesmith.training.forward import Forward
from tunesmith.training.schedule import learning_rate_at

PLAIN = BatchRules(4, 128, 0)


def encode(base: LoadedModel, *pairs: tuple[str, str]) -> list[Encoded]:
    return [encode_row({"prompt": q, "completion": a}, base.tokenizer) for q, a in pairs]


def test_equals_mlx_lms_default_loss_on_the_same_tokens(base: LoadedModel) -> None:
    """mlx-lm counts targets from `offset` to `length` inclusive, so its own batches also count one padding token; here they do not."""
    rows = encode(base, ("What is 2 + 3?", "2 + 3 = 5"), ("Capital of France?", "The capital of France is Paris, I think."))
    rows = [Encoded(r.ids[: r.ids.index(base.tokenizer.eos_token_id, r.supervised.index(True)) + 1], r.supervised) for r in rows]
    rows = [Encoded(r.ids, r.supervised[: len(r.ids)]) for r in rows]
    batch = make_batch(rows, PLAIN)
    ours = Forward().summed_loss(base.model, batch).item() / batch.supervised_tokens
    tokens = mx.array([r.ids + [0] * (60 - len(r.ids)) for r in rows])
    lengths = mx.array([[r.supervised.index(True), len(r.ids) - 1] for r in rows])
    theirs, count = default_loss(base.model, tokens, lengths)
    assert count.item() == batch.supervised_tokens
    assert ours == pytest.approx(theirs.item(), rel=1e-5)


def test_padding_changes_nothing(base: LoadedModel) -> None:
    rows = encode(base, ("Hello!", "Hi."), ("What is the capital of Norway?", "The capital of Norway is Oslo."))
    together = Forward().summed_loss(base.model, make_batch(rows, PLAIN)).item()
    alone = sum(Forward().summed_loss(base.model, make_batch([row], PLAIN)).item() for row in rows)
    assert together == pytest.approx(alone, rel=1e-5)


def test_every_row_is_seen_in_every_epoch_and_the_order_changes() -> None:
    rows = [Encoded([n, n + 100, n + 200], [False, True, True]) for n in range(10)]
    rules = BatchRules(4, 64, seed=5)
    batches = [batches_of_step(rows, step, rules)[0] for step in range(9)]  # 3 epochs of 4 + 4 + 2 rows
    epochs = [[int(i) for b in batches[e : e + 3] for i in b.inputs[:, 0].tolist()] for e in (0, 3, 6)]  # type: ignore[union-attr]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert rules.steps_per_epoch(10) == 3
    assert rules.steps(10, iters=7, epochs=0) == 7
    assert rules.steps(10, iters=7, epochs=1.5) == 5


def test_several_processes_share_a_batch_without_rest() -> None:
    rows = [Encoded([n, n + 100, n + 200], [False, True, True]) for n in range(10)]
    rules = BatchRules(4, 64, seed=5)
    for step in range(3):
        whole = {int(i) for b in batches_of_step(rows, step, rules) for i in b.inputs[:, 0].tolist()}  # type: ignore[union-attr]
        shares = [{int(i) for b in batches_of_step(rows, step, rules, rank, 3) for i in b.inputs[:, 0].tolist()} for rank in range(3)]  # type: ignore[union-attr]
        assert set.union(*shares) == whole
        assert sum(map(len, shares)) == len(whole)


def test_the_schedule_by_hand() -> None:
    cosine = TrainConfig(iters=11, warmup=1, learning_rate=1.0, lr_schedule="cosine")
    assert learning_rate_at(cosine, 1, 11) == 0.5  # half-way up a warm-up of one step
    assert learning_rate_at(cosine, 2, 11) == 1.0
    assert learning_rate_at(cosine, 7, 11) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.5)))
    linear = TrainConfig(iters=10, learning_rate=1.0, lr_schedule="linear")
    assert [round(learning_rate_at(linear, s, 10), 6) for s in (1, 6, 10)] == [1.0, 0.5, 0.1]
    constant = TrainConfig(iters=10, learning_rate=0.3, lr_schedule="constant")
    assert {learning_rate_at(constant, s, 10) for s in range(1, 11)} == {0.3}
