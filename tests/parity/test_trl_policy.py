"""The policy loss beside trl's own GRPOTrainer, and beside arithmetic done by hand."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tunesmith.training.policy_math import Floats, PolicyRules, TokenFacts, group_advantages, policy_loss, token_weights

torch = pytest.importorskip("torch", reason="the losses are compared with torch's")
pytest.importorskip("trl", reason="the losses are compared with trl's")

from trl.trainer.grpo_trainer import GRPOTrainer  # noqa: E402

LOSS_TYPES = ["grpo", "bnpo", "dr_grpo", "dapo"]
LEVELS = ["token", "sequence"]
BETAS = [0.0, 0.04]
OLD_POLICIES = ["same", "near", "far"]
LENGTHS = np.array([9, 1, 5, 7, 0, 3, 8, 6])
COLUMNS = 11
LONGEST = 16
REWARDS = np.array([[1.0, 0.2, 0.0, 0.7], [0.0, 1.0, 1.0, 0.3]])
SHIFTS = np.array([0.9, -0.9, 0.8, -0.7, 0.5, 0.6, -0.8, 0.9])[:, None]  # both signs with both signs of advantage


@dataclass(frozen=True)
class Batch:
    """Completions [B, T] and what is known of their tokens; every field is indexed by row."""

    log_probabilities: Floats
    old: Floats | None
    reference: Floats
    entropies: Floats
    mask: np.ndarray[Any, Any]
    advantages: Floats

    def rows(self, first: int, last: int) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Batch(**{name: None if value is None else value[first:last] for name, value in values.items()})


@dataclass(frozen=True)
class Outcome:
    """A loss, its gradient [B, T] by the log-probabilities, and the figures beside it."""

    loss: float
    gradient: Floats
    figures: dict[str, float]


def make_batch(old_policy: str, seed: int = 5) -> Batch:
    rng = np.random.default_rng(seed)
    shape = (len(LENGTHS), COLUMNS)
    log_probabilities = -rng.exponential(1.5, shape)
    noise = rng.normal(size=shape)
    old = {"same": None, "near": log_probabilities + 0.03 * noise, "far": log_probabilities + SHIFTS + 0.3 * noise}[old_policy]
    return Batch(
        log_probabilities=log_probabilities.astype(np.float32),
        old=None if old is None else old.astype(np.float32),
        reference=(log_probabilities + rng.normal(0, 0.4, shape)).astype(np.float32),
        entropies=rng.exponential(1.0, shape).astype(np.float32),
        mask=(np.arange(COLUMNS) < LENGTHS[:, None]).astype(np.int64),
        advantages=group_advantages(REWARDS, "group").reshape(-1),
    )


def rules_of(level: str, beta: float = 0.0, high: float = 0.28) -> PolicyRules:
    return PolicyRules(importance_sampling_level=level, epsilon=0.2, epsilon_high=high, beta=beta)


def unchanged(value: Any, **_: Any) -> Any:
    return value


def trl_trainer(rules: PolicyRules, loss_type: str, accumulated: int, per_generation: int, quantile: float) -> Any:
    """Return a GRPOTrainer that was never built: it has what its loss reads, and nothing else."""
    trainer = GRPOTrainer.__new__(GRPOTrainer)
    vars(trainer).update(
        loss_type=loss_type, importance_sampling_level=rules.importance_sampling_level, beta=rules.beta, epsilon_low=rules.epsilon,
        epsilon_high=rules.epsilon_high, max_completion_length=LONGEST, top_entropy_quantile=quantile, off_policy_mask_threshold=None,
        use_vllm=False, aux_loss_enabled=False, _entropy_bonus_enabled=False, current_gradient_accumulation_steps=accumulated,
        model=SimpleNamespace(training=True), state=SimpleNamespace(global_step=0), _metrics=defaultdict(lambda: defaultdict(list)),
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=per_generation, report_to=[]),
        accelerator=SimpleNamespace(
            num_processes=1, is_main_process=True, gather=unchanged, reduce=unchanged, pad_across_processes=unchanged
        ),
    )  # fmt: skip
    return trainer


def trl_outcome(
    batch: Batch, rules: PolicyRules, loss_type: str, step_tokens: int, accumulated: int = 1, per_generation: int = 1, quantile: float = 1.0
) -> Outcome:
    trainer = trl_trainer(rules, loss_type, accumulated, per_generation, quantile)
    leaf = torch.tensor(batch.log_probabilities, requires_grad=True)
    entropies = torch.tensor(batch.entropies)
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (leaf, entropies, None)
    mask = torch.tensor(batch.mask)
    prompts = torch.ones((len(mask), 1), dtype=torch.int64)
    inputs = {
        "prompt_ids": prompts, "prompt_mask": prompts, "completion_ids": mask, "completion_mask": mask,
        "advantages": torch.tensor(batch.advantages), "num_items_in_batch": torch.tensor(step_tokens),
        "old_per_token_logps": None if batch.old is None else torch.tensor(batch.old), "ref_per_token_logps": torch.tensor(batch.reference),
    }  # fmt: skip
    loss = GRPOTrainer._compute_loss(trainer, trainer.model, inputs)
    loss.backward()
    return Outcome(loss.item(), leaf.grad.numpy(), {name: values[0] for name, values in trainer._metrics["train"].items()})


PADDING = np.array([-80.0, -0.5, -3.0], np.float32)


def our_outcome(batch: Batch, rules: PolicyRules, weights: Floats, kept: np.ndarray[Any, Any] | None = None) -> Outcome:
    """Return our loss of the learned tokens as one line, which ends with padding that must not matter: its ratios overflow."""
    places = np.nonzero(batch.mask)
    owners = np.concatenate([places[0], np.arange(len(PADDING)) % len(batch.mask)])
    tokens = len(places[0])

    def line(values: np.ndarray[Any, Any], padding: float | Floats) -> mx.array:
        return mx.array(np.concatenate([values[places], np.broadcast_to(padding, PADDING.shape)]).astype(np.float32))

    facts = TokenFacts(
        old=None if batch.old is None else line(batch.old, -200.0),
        reference=line(batch.reference, 100.0) if rules.beta else None,
        advantages=mx.array(batch.advantages[owners]),
        weights=line(np.broadcast_to(weights[:, None], batch.mask.shape), 0.0),
        kept=line(np.ones_like(batch.mask) if kept is None else kept, 1.0),
        counts=line(batch.mask, 0.0),
        owners=mx.array(owners),
        row_lengths=mx.array(batch.mask.sum(axis=1)),
    )
    (loss, sums), gradient = mx.value_and_grad(lambda line: policy_loss(line, facts, rules))(line(batch.log_probabilities, PADDING))
    assert not np.array(gradient)[tokens:].any()
    scattered = np.zeros(batch.mask.shape, np.float32)
    scattered[places] = np.array(gradient)[:tokens]
    return Outcome(loss.item(), scattered, {name: value.item() / max(1, tokens) for name, value in sums.items()})


def assert_same(ours: Outcome, loss: float, gradient: Floats) -> None:
    assert ours.loss == pytest.approx(loss, rel=0, abs=1e-5)
    np.testing.assert_allclose(ours.gradient, gradient, rtol=0, atol=1e-6)


@pytest.mark.parametrize("old_policy", OLD_POLICIES)
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_the_loss_and_its_gradient_are_those_of_trl(loss_type: str, level: str, beta: float, old_policy: str) -> None:
    batch, rules, step_tokens = make_batch(old_policy), rules_of(level, beta), int(LENGTHS.sum())
    theirs = trl_outcome(batch, rules, loss_type, step_tokens)
    ours = our_outcome(batch, rules, token_weights(LENGTHS, loss_type, LONGEST, step_tokens, minibatches=1))
    assert np.abs(theirs.gradient).max() > 1e-3
    assert_same(ours, theirs.loss, theirs.gradient)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_each_of_four_minibatches_has_the_loss_of_trl(loss_type: str, level: str) -> None:
    batch, rules, step_tokens = make_batch("far"), rules_of(level, 0.04), int(LENGTHS.sum())
    for first in range(0, len(LENGTHS), 2):
        part = batch.rows(first, first + 2)
        theirs = trl_outcome(part, rules, loss_type, step_tokens, per_generation=4)
        weights = token_weights(LENGTHS[first : first + 2], loss_type, LONGEST, step_tokens, minibatches=4)
        assert_same(our_outcome(part, rules, weights), theirs.loss, theirs.gradient)


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "dapo"])
def test_a_minibatch_is_the_sum_of_the_passes_that_trl_accumulates(loss_type: str) -> None:
    """Two steps of two accumulated passes; not bnpo, where trl takes the mean of the passes' means and ours is the exact mean."""
    batch, rules, step_tokens = make_batch("far"), rules_of("token", 0.04), int(LENGTHS.sum())
    for first in (0, 4):
        parts = [batch.rows(first, first + 2), batch.rows(first + 2, first + 4)]
        theirs = [trl_outcome(part, rules, loss_type, step_tokens, accumulated=2, per_generation=4) for part in parts]
        weights = token_weights(LENGTHS[first : first + 4], loss_type, LONGEST, step_tokens, minibatches=2)
        ours = our_outcome(batch.rows(first, first + 4), rules, weights)
        assert_same(ours, sum(outcome.loss for outcome in theirs), np.concatenate([outcome.gradient for outcome in theirs]))


@pytest.mark.parametrize("old_policy", OLD_POLICIES)
def test_the_figures_of_tokens_are_those_of_trl(old_policy: str) -> None:
    batch, rules = make_batch(old_policy), rules_of("token", 0.04)
    theirs = trl_outcome(batch, rules, "grpo", int(LENGTHS.sum())).figures
    ours = our_outcome(batch, rules, token_weights(LENGTHS, "grpo", LONGEST, 1, 1)).figures
    for name, name_of_trl in {"kl": "kl", "clip_low": "clip_ratio/low_mean", "clip_high": "clip_ratio/high_mean"}.items():
        assert ours[name] == pytest.approx(theirs[name_of_trl], abs=1e-6)


@pytest.mark.parametrize("level", LEVELS)
def test_a_far_old_policy_is_clipped_on_both_sides(level: str) -> None:
    figures = our_outcome(make_batch("far"), rules_of(level), token_weights(LENGTHS, "grpo", LONGEST, 1, 1)).figures
    assert figures["clip_low"] > 0.05
    assert figures["clip_high"] > 0.05


@pytest.mark.parametrize("rows", [7, 8], ids=["odd", "even"])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_only_the_tokens_of_high_entropy_move_the_policy(loss_type: str, rows: int) -> None:
    batch, rules = make_batch("far").rows(0, rows), rules_of("token", 0.04)
    tokens = batch.mask == 1
    kept = (batch.entropies >= np.quantile(batch.entropies[tokens], 1 - 0.5)) & tokens
    trainer = trl_trainer(rules, loss_type, 1, 1, 0.5)
    np.testing.assert_array_equal(kept, trainer.get_high_entropy_mask(torch.tensor(batch.entropies), torch.tensor(batch.mask), 1 - 0.5))
    theirs = trl_outcome(batch, rules, loss_type, int(tokens.sum()), quantile=0.5)
    weights = token_weights(LENGTHS[:rows], loss_type, LONGEST, int(tokens.sum()), minibatches=1)
    assert_same(our_outcome(batch, rules, weights, kept), theirs.loss, theirs.gradient)
    assert abs(theirs.loss - our_outcome(batch, rules, weights).loss) > 1e-3


@pytest.mark.parametrize("scale_rewards", ["group", "batch", "none"])
def test_the_advantages_are_those_of_trl(scale_rewards: str) -> None:
    rewards = np.random.default_rng(2).normal(size=(5, 4))
    rewards[3] = 0.25
    theirs = torch.tensor(rewards)
    deviation = theirs.std(dim=1, keepdim=True, correction=1) if scale_rewards == "group" else theirs.std(correction=1)
    expected = theirs - theirs.mean(dim=1, keepdim=True)
    if scale_rewards != "none":
        expected = expected / (deviation + 1e-4)
    np.testing.assert_allclose(group_advantages(rewards, scale_rewards), expected.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("old_policy", OLD_POLICIES)
def test_the_gradients_of_gspo_and_grpo_part_with_the_old_policy(old_policy: str) -> None:
    """A row's ratio s = exp(mean over its L tokens of log r) has ds/d log p = s / L, the same for each of its tokens.

    Where the old policy is that of now, s = 1 and all r = 1. GRPO's gradient at a token is then -w A, and GSPO's is the sum over the
    row of w times -A / L, which is -w A as well, because the tokens of a row have the same weight w.
    """
    batch, weights = make_batch(old_policy), token_weights(LENGTHS, "grpo", LONGEST, 1, 1)
    by_token, by_sequence = (our_outcome(batch, rules_of(level), weights).gradient for level in LEVELS)
    difference = np.abs(by_token - by_sequence).max()
    assert difference <= 1e-7 if old_policy == "same" else difference > 1e-4


def by_hand(log_ratios: list[float], loss_type: str, scale_rewards: str, rules: PolicyRules) -> float:
    """Return the loss of a completion of one token (reward 1) and one of two (reward 0); log p is -1 everywhere."""
    log_probabilities = np.full((2, 2), -1.0, np.float32)
    first, second, third = log_ratios
    batch = Batch(
        log_probabilities=log_probabilities,
        old=(log_probabilities - np.array([[first, 0], [second, third]])).astype(np.float32),
        reference=log_probabilities + np.array([[0.1, 0], [-0.2, 0.3]], np.float32),
        entropies=np.ones((2, 2), np.float32),
        mask=np.array([[1, 0], [1, 1]]),
        advantages=group_advantages(np.array([[1.0, 0.0]]), scale_rewards).reshape(-1),
    )
    return our_outcome(batch, rules, token_weights(np.array([1, 2]), loss_type, 4, step_tokens=3, minibatches=1)).loss


def test_grpo_by_hand() -> None:
    """Rewards 1 and 0: mean 0.5, deviation sqrt(0.5) = 0.7071068, so the advantages are +-0.5 / 0.7072068 = +-0.7070068.

    Log-ratios 0.5, -0.1, -0.8: ratios 1.648721, 0.904837, 0.449329, clipped to [0.8, 1.2]: 1.2, 0.904837, 0.8.
    min(r A, clip A): 1.2 A = 0.848408; -0.904837 |A| = -0.639726; -0.8 |A| = -0.565605.
    Means of the rows: 0.848408 and -0.6026658. Loss: -(0.848408 - 0.6026658) / 2 = -0.1228712.
    """
    assert by_hand([0.5, -0.1, -0.8], "grpo", "group", rules_of("token", high=0.2)) == pytest.approx(-0.1228712, rel=0, abs=1e-6)


def test_grpo_with_a_reference_by_hand() -> None:
    """As above, and log reference - log p is 0.1, -0.2, 0.3: k3 = e^d - d - 1 is 0.0051709, 0.0187308, 0.0498588.

    Means of the rows: 0.0051709 and 0.0342948; mean of these: 0.0197329. Loss: -0.1228712 + 0.04 x 0.0197329 = -0.1220819.
    """
    assert by_hand([0.5, -0.1, -0.8], "grpo", "group", rules_of("token", 0.04, high=0.2)) == pytest.approx(-0.1220819, rel=0, abs=1e-6)


def test_gspo_by_hand() -> None:
    """Advantages +-0.7070068 as above; the log-ratios' means per row are 0.0002 and (-0.003 + 0.001) / 2 = -0.001.

    Ratios of the rows: 1.0002000 and 0.9990005, clipped to [0.9997, 1.0004]: 1.0002 and 0.9997.
    Loss: -(1.0002000 - 0.9997) x 0.7070068 / 2 = -0.0001768.
    """
    rules = replace(rules_of("sequence"), epsilon=3e-4, epsilon_high=4e-4)
    assert by_hand([0.0002, -0.003, 0.001], "grpo", "group", rules) == pytest.approx(-0.0001768, rel=0, abs=1e-6)


def test_dr_grpo_by_hand() -> None:
    """Without a deviation the advantages are +-0.5, and with ratios as in GRPO the terms are 0.6, -0.4524187, -0.4: sum -0.2524187.

    Divided by 2 rows x 4 tokens, the longest completion allowed. Loss: 0.2524187 / 8 = 0.0315523.
    """
    rules = rules_of("token", high=0.2)
    assert by_hand([0.5, -0.1, -0.8], "dr_grpo", "none", rules) == pytest.approx(0.0315523, rel=0, abs=1e-6)


def test_dapo_by_hand() -> None:
    """Advantages and ratios as in GRPO, clipped to [0.8, 1.28]: terms 1.28 x 0.7070068 = 0.9049687, -0.639726, -0.565605.

    Their sum is -0.3003629, over the step's 3 tokens. Loss: 0.3003629 / 3 = 0.1001210.
    """
    assert by_hand([0.5, -0.1, -0.8], "dapo", "group", rules_of("token")) == pytest.approx(0.1001210, rel=0, abs=1e-6)
