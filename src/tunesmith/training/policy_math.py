"""The arithmetic of group-relative policy optimisation: advantages, length weights, the clipped loss. Knows arrays, no models and no rows.

GRPO: arXiv 2402.03300. Dr. GRPO: 2503.20783. DAPO: 2503.14476. GSPO: 2507.18071. PODS: 2504.13818. CPPO: 2503.22342. The names of the
choices are trl's; `tests/parity/test_trl_policy.py` compares loss and gradient with trl's own trainer.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
EPSILON_STD = 1e-4  # trl's
ZERO_SPREAD = 1e-8


def group_advantages(rewards: npt.NDArray[np.float64], scale_rewards: str) -> Floats:
    """Return the advantages [P, G] of rewards [P, G]: the distance to the group's mean, divided by a deviation (n - 1) or by nothing.

    `scale_rewards` is `group` (GRPO), `batch` (of all groups) or `none` (Dr. GRPO).
    """
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    if scale_rewards == "group":
        centred = centred / (_deviation(rewards, axis=1) + EPSILON_STD)
    elif scale_rewards == "batch":
        centred = centred / (_deviation(rewards, axis=None) + EPSILON_STD)
    return np.asarray(centred, np.float32)


def _deviation(rewards: npt.NDArray[np.float64], axis: int | None) -> npt.NDArray[np.float64]:
    members = rewards.size if axis is None else rewards.shape[axis]
    if members < 2:
        return np.zeros_like(rewards.mean(axis=axis, keepdims=True))
    return np.asarray(rewards.std(axis=axis, ddof=1, keepdims=True))


def has_no_spread(rewards: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return, for rewards [P, G], which groups [P] were all rewarded alike: they teach nothing."""
    return np.asarray(np.ptp(rewards, axis=1) < ZERO_SPREAD)


def kept_of_group(rewards: npt.NDArray[np.float64], count: int, keep_by: str) -> Places:
    """Return which `count` of a group's rewards [G] are learned from: `variance`, the subset that varies most (PODS), or `advantage`,
    those farthest from the mean (CPPO)."""
    order = np.argsort(rewards, kind="stable")
    if keep_by == "advantage":
        farthest = np.argsort(-np.abs(rewards - rewards.mean()), kind="stable")
        return np.sort(farthest[:count])
    # of all subsets, the one that varies most is made of the lowest and the highest (PODS, lemma 3.1)
    splits = [np.concatenate([order[:low], order[len(order) - (count - low) :]]) for low in range(count + 1)]
    return np.sort(max(splits, key=lambda chosen: float(rewards[chosen].var())))


def token_weights(lengths: Places, loss_type: str, longest: int, step_tokens: int, minibatches: int) -> Floats:
    """Return what each token of a minibatch's completions counts in its loss, by row [B]; `lengths` [B] are their learned tokens.

    `grpo`: the mean of each row's mean. `bnpo`: the mean over the minibatch's tokens. `dapo`: over the step's tokens, of which a
    minibatch is a part. `dr_grpo`: the sum over rows times the longest completion allowed, a constant.
    """
    rows = len(lengths)
    if loss_type == "grpo":
        weights = 1 / (max(1, rows) * np.maximum(lengths, 1))
    elif loss_type == "bnpo":
        weights = np.full(rows, 1 / max(1, int(lengths.sum())))
    elif loss_type == "dapo":
        weights = np.full(rows, minibatches / max(1, step_tokens))
    else:
        weights = np.full(rows, 1 / max(1, rows * longest))
    return weights.astype(np.float32)


@dataclass(frozen=True)
class PolicyRules:
    """Which ratio is clipped where, and how strongly the reference pulls; the names are trl's."""

    importance_sampling_level: str
    epsilon: float
    epsilon_high: float
    beta: float


@dataclass(frozen=True)
class TokenFacts:
    """What is known of a pass's completion tokens before its gradient, each [N]; padding has weight and count 0.

    `old` are the log-probabilities under the weights that wrote the tokens (None: those of now), `reference` under the base (None: not
    wanted), `kept` is 0 where the policy's term is left out, `owners` the row of each token, `row_lengths` [R] the rows' learned tokens.
    """

    old: mx.array | None
    reference: mx.array | None
    advantages: mx.array
    weights: mx.array
    kept: mx.array
    counts: mx.array
    owners: mx.array
    row_lengths: mx.array


def policy_loss(log_probabilities: mx.array, facts: TokenFacts, rules: PolicyRules) -> tuple[mx.array, dict[str, mx.array]]:
    """Return the weighted sum of the clipped loss over tokens [N], and sums of what it met for the figures.

    loss = Σ w·(−min(r·A, clip(r, 1−ε, 1+ε_high)·A)·kept + β·k3), with r the ratio to the old policy of a token, or of its whole sequence
    (geometric mean), and k3 = e^d − d − 1 for d = log π_ref − log π. All passes of a minibatch add up to its exact loss.
    """
    old = mx.stop_gradient(log_probabilities) if facts.old is None else facts.old
    log_ratio = (log_probabilities - old) * facts.counts
    if rules.importance_sampling_level == "sequence":
        log_ratio = _mean_of_rows(log_ratio, facts)
    ratio = mx.exp(log_ratio)
    advantages = facts.advantages
    clipped = mx.clip(ratio, 1 - rules.epsilon, 1 + rules.epsilon_high)
    per_token = -mx.minimum(ratio * advantages, clipped * advantages) * facts.kept
    divergence = mx.zeros_like(log_probabilities)
    if facts.reference is not None:
        distance = (facts.reference - log_probabilities) * facts.counts
        divergence = mx.expm1(distance) - distance
        per_token = per_token + rules.beta * divergence if rules.beta else per_token
    loss = (per_token * facts.weights).sum()
    low = (ratio < 1 - rules.epsilon) & (advantages < 0)
    high = (ratio > 1 + rules.epsilon_high) & (advantages > 0)
    sums = {
        "kl": divergence, "clip_low": low, "clip_high": high, "ratio_deviation": mx.abs(ratio - 1), "tokens": mx.ones_like(facts.counts),
    }  # fmt: skip
    return loss, {name: mx.stop_gradient((value * facts.counts).sum()) for name, value in sums.items()}


def _mean_of_rows(values: mx.array, facts: TokenFacts) -> mx.array:
    """Return, for tokens [N], the mean over their row's tokens."""
    sums = mx.zeros(facts.row_lengths.shape, mx.float32).at[facts.owners].add(values)
    means: mx.array = (sums / mx.maximum(facts.row_lengths, 1))[facts.owners]
    return means
