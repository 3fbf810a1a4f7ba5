"""Prompts computed once = every row by itself: log-probabilities, entropies, gradients, steps; models that do not allow it fall back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from tests.mlx.conftest import read_lines
from tests.mlx.test_forward import ATTENTION, VOCABULARY, tiny, with_lora
from tests.mlx.test_forward import distance as gradient_distance
from tests.mlx.test_policy import config_of, distance, reports, run
from tunesmith.data.batching import BatchRules
from tunesmith.training.forward import Forward, choose_forward, try_shared_prompts
from tunesmith.training.prompt_sharing import AnswerKeys, SharedBatch, make_shared_passes, plan_shared_passes
from tunesmith.training.rollout_batch import RolloutBatch, lay_out

GROUPS = ((17, (9, 1, 12, 5)), (1, (3, 6, 1)), (26, (2, 21)))  # a prompt's tokens, and those of its answers
WINDOW: dict[str, Any] = {
    "sliding_window": 8, "sliding_window_pattern": 2, "num_hidden_layers": 3, "query_pre_attn_scalar": 8
}  # fmt: skip
REFUSED: dict[str, dict[str, Any]] = {
    "mamba": {"state_size": 4, "conv_kernel": 4, "use_bias": False, "use_conv_bias": True, "time_step_rank": 4, "layer_norm_epsilon": 1e-5},
    "gemma2": {"query_pre_attn_scalar": 8, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 3.0},
}


def rollouts() -> RolloutBatch:
    draw = np.random.default_rng(0)
    prompts, completions = [], []
    for length, answers in GROUPS:
        prompt = draw.integers(1, VOCABULARY, length).tolist()
        prompts += [prompt] * len(answers)
        completions += [draw.integers(1, VOCABULARY, count).tolist() for count in answers]
    advantages = draw.normal(size=len(prompts)).astype(np.float32)
    return lay_out(prompts, completions, advantages, np.array([2], np.int64))


def rules_of(most: int) -> BatchRules:
    return BatchRules(4, 64, 0, pass_tokens=most)


def scored(batch: RolloutBatch, model: Any, forward: Forward, most: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Any]:
    """Log-probabilities and entropies [T], and the gradient of a weighted sum of the first."""
    members = np.arange(len(batch.rows))
    scale = np.random.default_rng(1).normal(size=batch.tokens).astype(np.float32)
    logs, entropies, gradient = np.zeros(batch.tokens), np.zeros(batch.tokens), None
    lengths = batch.prompt_lengths.tolist()
    shared = make_shared_passes(batch.rows, lengths, rules_of(most), always=True) if forward.shared_prompts else []

    def loss(model: Any, part: Any, weights: mx.array) -> mx.array:
        return (forward.log_probabilities(model, part, 0.7)[0] * weights * part.counts).sum()

    for part in shared or batch.passes(members, rules_of(most), shared_prompts=False):
        places, used = batch.flat_places(part, members), np.array(part.counts) > 0
        assert used.sum() == part.supervised_tokens
        found, uncertain = forward.log_probabilities(model, part, 0.7)
        logs[places[used]], entropies[places[used]] = np.array(found)[used], np.array(uncertain)[used]
        slopes = nn.value_and_grad(model, loss)(model, part, mx.array(scale[places]))[1]
        gradient = slopes if gradient is None else nn.utils.tree_map(mx.add, gradient, slopes)
    return logs, entropies, gradient


@pytest.mark.parametrize(("model_type", "more"), [*ATTENTION.items(), ("gemma3_text", WINDOW)])
def test_shared_is_plain(model_type: str, more: dict[str, Any]) -> None:
    """One pass and passes that split groups; a prompt of one token, answers of one token, a sliding window of 8."""
    model = tiny(model_type, **more)
    batch = rollouts()
    chosen = try_shared_prompts(model, batch.rows[:2], choose_forward(model, batch.rows)[0])
    assert chosen.shared_prompts
    with_lora(model)
    expected, uncertain, slopes = scored(batch, model, Forward(), 0)
    forwards = [chosen, Forward(shared_prompts=True)]
    if model_type in ATTENTION:
        forwards.append(Forward(labels_only=True, chunked=True, shared_prompts=True))
    for forward in forwards:
        for most in (0, 30):
            found, entropies, gradient = scored(batch, model, forward, most)
            assert np.abs(found - expected).max() < 1e-4
            assert np.abs(entropies - uncertain).max() < 1e-4
            assert gradient_distance(gradient, slopes) < 1e-4


@pytest.mark.parametrize("model_type", REFUSED)
def test_models_that_do_not_allow_it_score_as_before(model_type: str) -> None:
    """Mamba carries a state along; gemma2 takes no mask per row."""
    model = tiny(model_type, **REFUSED[model_type])
    batch = rollouts()
    plain = choose_forward(model, batch.rows)[0]
    assert try_shared_prompts(model, batch.rows[:2], plain) == plain
    expected, _, _ = scored(batch, model, Forward(), 0)
    assert np.abs(scored(batch, model, plain, 30)[0] - expected).max() < 1e-4


def test_every_answer_is_in_one_pass_once_and_passes_are_bounded() -> None:
    draw = np.random.default_rng(3)
    prefixes = [0, 40, 8, 19, 90]
    prompts = np.repeat(np.arange(5), 12).tolist()
    answers = draw.integers(1, 60, len(prompts)).tolist()
    plans = plan_shared_passes(prompts, prefixes, answers, 512)
    assert sorted(row for plan in plans for rows, _ in plan.blocks for row in rows) == list(range(len(prompts)))
    for plan in plans:
        assert {prompts[row] for rows, _ in plan.blocks for row in rows} == set(plan.prompts)
        assert all(max(answers[row] for row in rows) <= width for rows, width in plan.blocks)
        assert plan.width >= max(prefixes[prompt] for prompt in plan.prompts)
        assert plan.tokens <= 1.3 * 512
    assert plans == plan_shared_passes(prompts, prefixes, answers, 512)
    assert [plan.prompts for plan in plan_shared_passes(prompts, prefixes, answers, 0)] == [[4, 1, 3, 2, 0]]
    assert all(sum(len(rows) for rows, _ in plan.blocks) == 1 for plan in plan_shared_passes(prompts, prefixes, answers, 1))


def test_rows_with_prompts_of_their_own_go_as_before() -> None:
    batch = rollouts()
    alone = np.array([0, 4, 7])
    assert not any(isinstance(part, SharedBatch) for part in batch.passes(alone, rules_of(0), shared_prompts=True))
    assert all(isinstance(part, SharedBatch) for part in batch.passes(np.arange(4), rules_of(0), shared_prompts=True))


def started(folder: Path) -> dict[str, Any]:
    return next(event for event in read_lines(folder / "events.jsonl") if event["kind"] == "run_started")


@pytest.mark.parametrize("method", ["grpo", "gspo", "dapo"])
def test_the_step_is_the_same_with_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    policy = {"num_generations": 8, "beta": 0.04, "top_entropy_quantile": 0.9}
    for name, tokens in (("shared", 100_000), ("small", 64)):
        run(config_of(method, policy, iters=1, pass_tokens=tokens, optimizer="sgd"), tmp_path / name)
        assert started(tmp_path / name)["shared_prompts"]
    monkeypatch.setattr("tunesmith.training.prepare.try_shared_prompts", lambda _, __, forward: forward)
    run(config_of(method, policy, iters=1, optimizer="sgd"), tmp_path / "plain")
    assert not started(tmp_path / "plain")["shared_prompts"]
    assert distance(tmp_path / "shared", tmp_path / "plain") < 1e-5
    assert distance(tmp_path / "small", tmp_path / "plain") < 1e-5
    one, other = reports(tmp_path / "shared")[0], reports(tmp_path / "plain")[0]
    assert one["entropy"] == pytest.approx(other["entropy"], abs=1e-4)
    assert one["kl"] == pytest.approx(other["kl"], abs=1e-5)


def test_where_the_trial_fails_a_run_goes_on_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask that hides the prompt gives other log-probabilities, one that cannot be made raises."""
    real = AnswerKeys.make_mask
    hidden = {"blind": lambda self, n, **options: real(self, n, **(options | {"window_size": 1})), "none": lambda _: None}
    for name, mask in hidden.items():
        monkeypatch.setattr(AnswerKeys, "make_mask", mask)
        assert run(config_of("grpo", iters=1), tmp_path / name) == "completed"
        assert not started(tmp_path / name)["shared_prompts"]


def test_checkpointed_blocks_go_as_before(tmp_path: Path) -> None:
    assert run(config_of("grpo", iters=1, grad_checkpoint=True), tmp_path / "run") == "completed"
    assert not started(tmp_path / "run")["shared_prompts"]
