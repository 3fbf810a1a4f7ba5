"""The built-in reward functions by name: one line each."""

from __future__ import annotations

from collections.abc import Mapping

from tunesmith.errors import UserError
from tunesmith.settings.files import from_mapping
from tunesmith.training.rewards.correctness import F1, ExactMatch, MultipleChoice, Numeric
from tunesmith.training.rewards.layout import FormatSoft, FormatStrict, JsonSchema, Pattern, StepCount
from tunesmith.training.rewards.length import Repetition, SoftOverlong, TargetLength
from tunesmith.training.rewards.spec import Reward, RewardSpec
from tunesmith.training.rewards.wording import Keywords, Language, Rubric

REWARDS: Mapping[str, type[Reward]] = {
    "exact_match": ExactMatch,
    "numeric": Numeric,
    "multiple_choice": MultipleChoice,
    "f1": F1,
    "format_strict": FormatStrict,
    "format_soft": FormatSoft,
    "pattern": Pattern,
    "json_schema": JsonSchema,
    "step_count": StepCount,
    "target_length": TargetLength,
    "soft_overlong": SoftOverlong,
    "repetition": Repetition,
    "keywords": Keywords,
    "language": Language,
    "rubric": Rubric,
}


def build_reward(spec: RewardSpec) -> Reward:
    """Return a built-in function with its settings. Raises UserError `reward_unknown`, `setting_…`."""
    if spec.function not in REWARDS:
        raise UserError("reward_unknown", function=spec.function, known=", ".join(REWARDS))
    return from_mapping(REWARDS[spec.function], spec.options)
