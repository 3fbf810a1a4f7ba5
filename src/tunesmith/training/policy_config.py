"""What a reinforcement learning run needs to know beside the common settings, and the methods as rows of a table. Knows no mlx.

The names are trl's where it has one. Each paper stands in `docs/paper_index.md`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.settings.fields import setting
from tunesmith.training.rewards.spec import RewardSpec

LEVELS = ("token", "sequence")
SCALES = ("group", "batch", "none")
NORMALIZERS = ("grpo", "bnpo", "dr_grpo", "dapo")


@dataclass(frozen=True)
class PolicyParameters:
    """Rollouts, rewards and the switches of the policy's loss."""

    rewards: tuple[RewardSpec, ...] = setting(
        lambda: (RewardSpec("exact_match"),), kind="rewards", label="Reward functions", group="rewards",
        help="What an answer is worth: the weighted sum of these functions.",
    )  # fmt: skip
    on_reward_error: str = setting(
        "stop", choices=("stop", "skip"), label="When a reward function fails", group="rewards", advanced=True,
        help="stop: the run ends and says which function and why. skip: it has nothing to say in that step, and the page tells so.",
    )  # fmt: skip
    system_prompt: str = setting(
        "", kind="text", label="System prompt", group="rewards", advanced=True,
        help="Put before prompts that have none. The adapter learns answers to it: use the same one when you use the adapter.",
    )  # fmt: skip
    num_generations: int = setting(
        8, minimum=2, maximum=256, unit="answers", label="Answers per prompt", group="rollouts",
        help="The group: an answer is judged against the others to the same prompt. More groups have something to teach when it is larger.",
    )  # fmt: skip
    max_completion_length: int = setting(
        256, minimum=1, maximum=32768, unit="tokens", label="Longest answer", group="rollouts",
        help="Answers are cut here. Most of a step's time goes into writing them.",
    )  # fmt: skip
    temperature: float = setting(
        1.0, minimum=0.01, maximum=2.0, label="Temperature", group="rollouts", advanced=True,
        help="How varied the answers are. Groups whose answers are all alike teach nothing.",
    )  # fmt: skip
    top_p: float = setting(
        1.0, minimum=0.01, maximum=1.0, label="Top-p", group="rollouts", advanced=True,
        help="Draw only from the likeliest tokens that together have this probability. 1: from all, as the mathematics wants it.",
    )  # fmt: skip
    top_k: int = setting(
        0, minimum=0, maximum=100_000, unit="tokens", label="Top-k", group="rollouts", advanced=True,
        help="Draw only from this many likeliest tokens. 0: from all, as the mathematics wants it.",
    )  # fmt: skip
    rollout_rows: int = setting(
        256, minimum=1, maximum=65536, unit="answers", label="Answers at once", group="rollouts", advanced=True,
        help="How many answers are written side by side; their key-value caches take memory. The answers stay as many.",
    )  # fmt: skip
    importance_sampling_level: str = setting(
        "token", choices=LEVELS, label="Ratio of", group="policy", advanced=True,
        help="What is compared with the policy that wrote the answers: each token (GRPO), or the whole answer (GSPO).",
    )  # fmt: skip
    scale_rewards: str = setting(
        "group", choices=SCALES, label="Advantage divided by", group="policy", advanced=True,
        help="The deviation of the group (GRPO), of the whole batch, or nothing (Dr. GRPO: no weight for easy and hard prompts).",
    )  # fmt: skip
    loss_type: str = setting(
        "grpo", choices=NORMALIZERS, label="Length normaliser", group="policy", advanced=True,
        help="grpo: each answer counts the same. bnpo: each token of a minibatch. dapo: each token of the step. "
        "dr_grpo: divided by the longest answer allowed, so that length earns nothing.",
    )  # fmt: skip
    epsilon: float = setting(
        0.2, minimum=0.0, maximum=1.0, label="Clip below", group="policy", advanced=True,
        help="A ratio under 1 minus this is not pushed further down. Of whole answers it is far smaller (GSPO: 0.0003).",
    )  # fmt: skip
    epsilon_high: float = setting(
        0.2, minimum=0.0, maximum=10.0, label="Clip above", group="policy", advanced=True,
        help="A ratio over 1 plus this is not pushed further up. DAPO takes more here than below, so that rare words may rise.",
    )  # fmt: skip
    beta: float = setting(
        0.0, minimum=0.0, maximum=10.0, label="KL weight", group="policy", advanced=True,
        help="How strongly the base model (adapter switched off) pulls back. 0: not at all, a pass less per step; GRPO's paper has 0.04.",
    )  # fmt: skip
    minibatches: int = setting(
        1, minimum=1, maximum=256, label="Minibatches", group="policy", advanced=True,
        help="Into how many parts a step's answers are divided; each moves the adapter. With one, ratios are 1 and nothing is clipped.",
    )  # fmt: skip
    num_iterations: int = setting(
        1, minimum=1, maximum=64, label="Passes over the answers", group="policy", advanced=True,
        help="How often the same answers are learned from (μ in GRPO's paper).",
    )  # fmt: skip
    dynamic_sampling: bool = setting(
        False, label="Skip groups without difference", group="policy", advanced=True,
        help="Groups that were rewarded alike are put aside and other prompts asked, up to three times a step (DAPO).",
    )  # fmt: skip
    soft_overlong: float = setting(
        0.0, minimum=0.0, maximum=1.0, label="Soft overlong share", group="policy", advanced=True,
        help="In this last share of the longest answer a punishment grows to −1 (DAPO: 0.2). 0: none.",
    )  # fmt: skip
    mask_truncated_completions: bool = setting(
        False, label="Leave out cut answers", group="policy", advanced=True,
        help="Answers that were cut at the longest length are not learned from; they still count in their group's mean.",
    )  # fmt: skip
    keep_rollouts: int = setting(
        0, minimum=0, maximum=256, unit="answers", label="Learn from the best of a group", group="saving", advanced=True,
        help="Of each group only this many answers are learned from (PODS, CPPO). 0: all. Saves time of learning, none of writing.",
    )  # fmt: skip
    keep_by: str = setting(
        "variance", choices=("variance", "advantage"), label="Which answers are kept", group="saving", advanced=True,
        help="variance: those that differ most in reward (PODS). advantage: those farthest from the group's mean (CPPO).",
    )  # fmt: skip
    top_entropy_quantile: float = setting(
        1.0, minimum=0.01, maximum=1.0, label="Share of uncertain tokens", group="saving", advanced=True,
        help="The policy's loss counts only this share of the tokens, those where the model was least sure. 1: all.",
    )  # fmt: skip


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "grpo": {
        "importance_sampling_level": "token", "scale_rewards": "group", "loss_type": "grpo", "epsilon": 0.2, "epsilon_high": 0.2,
        "minibatches": 1, "dynamic_sampling": False, "soft_overlong": 0.0,
    },
    "gspo": {
        "importance_sampling_level": "sequence", "scale_rewards": "group", "loss_type": "grpo", "epsilon": 3e-4, "epsilon_high": 4e-4,
        "minibatches": 4, "dynamic_sampling": False, "soft_overlong": 0.0,
    },
    "dr_grpo": {
        "importance_sampling_level": "token", "scale_rewards": "none", "loss_type": "dr_grpo", "epsilon": 0.2, "epsilon_high": 0.2,
        "minibatches": 1, "dynamic_sampling": False, "soft_overlong": 0.0,
    },
    "dapo": {
        "importance_sampling_level": "token", "scale_rewards": "group", "loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28,
        "minibatches": 4, "dynamic_sampling": True, "soft_overlong": 0.2,
    },
}  # fmt: skip


def changed_switches(method: str, policy: PolicyParameters) -> dict[str, Any]:
    """Return the preset's values of the switches that differ from it, by name."""
    return {name: value for name, value in PRESETS[method].items() if getattr(policy, name) != value}


def default_policy(method: str) -> PolicyParameters:
    """Return the settings with a method's switches."""
    return PolicyParameters(**PRESETS[method])


def with_switches(method: str, policy: PolicyParameters) -> PolicyParameters:
    """Return the settings with a method's switches, everything else as it is."""
    return dataclasses.replace(policy, **PRESETS[method])
