"""Settings of a method that are right alone and wrong together. Knows no mlx, so that pages refuse what the worker would."""

from __future__ import annotations

import math

from tunesmith.data.formats import POLICY, PREFERENCE
from tunesmith.errors import UserError
from tunesmith.training.config import TrainConfig
from tunesmith.training.rewards.registry import build_reward
from tunesmith.training.rewards.spec import Completion

SMOOTHED = ("sigmoid", "robust")


def check_method(config: TrainConfig) -> None:
    """Refuse a combination that does nothing or cannot be done.

    Raises UserError `sequence_ratio_of_one_minibatch`, `no_room_for_prompts`, `too_many_minibatches`, `nothing_left_out`,
    `label_smoothing_without_effect`, `rewards_missing`, `rewards_without_weight`, `reward_…`, `setting_…`.
    """
    if config.method in POLICY:
        _check_policy(config)
    elif config.method in PREFERENCE:
        _check_preference(config)


def _check_policy(config: TrainConfig) -> None:
    policy = config.policy
    answers = config.batch_size * policy.num_generations
    if policy.importance_sampling_level == "sequence" and policy.minibatches * policy.num_iterations == 1:
        raise UserError("sequence_ratio_of_one_minibatch", method=config.method)
    if policy.max_completion_length >= config.max_seq_length:
        raise UserError("no_room_for_prompts", longest=config.max_seq_length, answer=policy.max_completion_length)
    if policy.minibatches > answers:
        raise UserError("too_many_minibatches", minibatches=policy.minibatches, answers=answers)
    if policy.keep_rollouts >= policy.num_generations:
        raise UserError("nothing_left_out", kept=policy.keep_rollouts, answers=policy.num_generations)
    if not policy.rewards:
        raise UserError("rewards_missing")
    for spec in policy.rewards:
        if not math.isfinite(spec.weight):
            raise UserError("reward_weight_wrong", function=spec.name, weight=str(spec.weight))
        if not spec.is_custom:
            build_reward(spec).score(Completion("tried"), {})  # a pattern, a schema, a list that cannot work says so here
    if not any(spec.weight for spec in policy.rewards):
        raise UserError("rewards_without_weight")


def _check_preference(config: TrainConfig) -> None:
    rules = config.preference
    if rules.label_smoothing and (config.method != "dpo" or rules.loss_type not in SMOOTHED):
        raise UserError("label_smoothing_without_effect", losses=", ".join(SMOOTHED))
