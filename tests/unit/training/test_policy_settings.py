"""Methods as rows of a table: switches, defaults, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml

from tunesmith.data.formats import POLICY, PREFERENCE, as_prompt, row_answer
from tunesmith.errors import UserError
from tunesmith.settings.files import from_mapping, to_mapping, to_yaml
from tunesmith.training.config import METHOD_DEFAULTS, TrainConfig
from tunesmith.training.method_checks import check_method
from tunesmith.training.policy_config import PRESETS, PolicyParameters, changed_switches
from tunesmith.training.registry import METHODS, family_of
from tunesmith.training.rewards.domains import persona, presets
from tunesmith.training.rewards.registry import build_reward
from tunesmith.training.rewards.spec import RewardSpec


@pytest.mark.parametrize("method", POLICY)
def test_a_method_alone_brings_its_switches(method: str) -> None:
    config = from_mapping(TrainConfig, {"method": method})
    assert changed_switches(method, config.policy) == {}
    assert {name: getattr(config.policy, name) for name in PRESETS[method]} == PRESETS[method]
    check_method(config)


@pytest.mark.parametrize("method", POLICY)
def test_what_a_person_sets_stays_and_is_told_as_changed(method: str) -> None:
    config = from_mapping(TrainConfig, {"method": method, "iters": 7, "policy": {"epsilon": 0.11}})
    assert config.policy.epsilon == 0.11
    assert config.iters == 7
    assert changed_switches(method, config.policy) == {"epsilon": PRESETS[method]["epsilon"]}


def test_the_table_is_the_papers() -> None:
    """GRPO 2402.03300, GSPO 2507.18071 (clip 3e-4 and 4e-4), Dr. GRPO 2503.20783 (no deviation), DAPO 2503.14476 (0.2 and 0.28)."""
    names = ("importance_sampling_level", "scale_rewards", "loss_type", "epsilon", "epsilon_high")
    told = {method: tuple(preset[name] for name in names) for method, preset in PRESETS.items()}
    assert told == {
        "grpo": ("token", "group", "grpo", 0.2, 0.2),
        "gspo": ("sequence", "group", "grpo", 3e-4, 4e-4),
        "dr_grpo": ("token", "none", "dr_grpo", 0.2, 0.2),
        "dapo": ("token", "group", "dapo", 0.2, 0.28),
    }
    assert PRESETS["gspo"]["minibatches"] >= 2
    assert PRESETS["dapo"]["dynamic_sampling"]
    assert set(PRESETS) == set(POLICY)


@pytest.mark.parametrize("method", METHODS)
def test_settings_of_every_method_survive_yaml(method: str) -> None:
    config = TrainConfig(model="m", data="d").with_method(method)
    if method in POLICY:
        spec = RewardSpec("keywords", 0.5, {"wanted": ["a", "b"]})
        config = dataclasses.replace(config, policy=dataclasses.replace(config.policy, rewards=(spec, RewardSpec("mine.py:f"))))
    assert from_mapping(TrainConfig, yaml.safe_load(to_yaml(config))) == config


def test_the_yaml_of_a_method_is_free_of_other_methods_settings() -> None:
    assert {"policy", "preference"} & set(to_mapping(TrainConfig())) == set()
    assert "loss_on" not in to_mapping(TrainConfig().with_method("grpo"))
    assert "policy" in to_mapping(TrainConfig().with_method("grpo"))
    assert "preference" in to_mapping(TrainConfig().with_method("dpo"))


def test_another_method_and_back_is_where_it_was() -> None:
    config = TrainConfig(model="m", data="d")
    for method in (*POLICY, *PREFERENCE):
        assert config.with_method(method).with_method("sft").iters == config.iters
        assert config.with_method(method).iters == METHOD_DEFAULTS[method].get("iters", config.iters)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"importance_sampling_level": "sequence"}, "sequence_ratio_of_one_minibatch"),
        ({"max_completion_length": 1024}, "no_room_for_prompts"),
        ({"minibatches": 33}, "too_many_minibatches"),
        ({"keep_rollouts": 8}, "nothing_left_out"),
        ({"rewards": ()}, "rewards_missing"),
        ({"rewards": (RewardSpec("unheard_of"),)}, "reward_unknown"),
        ({"rewards": (RewardSpec("numeric", 1.0, {"tolerance": "much"}),)}, "setting_type"),
        ({"rewards": (RewardSpec("numeric", 1.0, {"tolerence": 0.1}),)}, "setting_unknown"),
    ],
)
def test_what_does_nothing_is_refused(changes: dict[str, Any], code: str) -> None:
    config = TrainConfig().with_method("grpo")
    with pytest.raises(UserError) as caught:
        check_method(dataclasses.replace(config, policy=dataclasses.replace(config.policy, **changes)))
    assert caught.value.code == code


def test_families() -> None:
    assert [family_of(name) for name in ("sft", "dpo", "orpo", "grpo", "gspo", "dr_grpo", "dapo", "of_tomorrow")] == [
        "sft", "preference", "preference", "policy", "policy", "policy", "policy", "sft",
    ]  # fmt: skip


def test_prompts_and_answers_of_rows() -> None:
    chat = {"messages": [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate("abcd")]}
    assert [m["content"] for m in as_prompt(chat, "be short")] == ["be short", "a", "b", "c"]
    assert row_answer(chat) == "d"
    assert as_prompt({"prompt": "q", "topic": "x"}) == [{"role": "user", "content": "q"}]
    assert row_answer({"prompt": "q", "topic": "x"}) is None
    assert row_answer({"prompt": "q", "answer": 4}) == "4"
    assert [m["role"] for m in as_prompt({"prompt": "q", "system": "own", "answer": "a"}, "other")] == ["system", "user"]
    assert as_prompt({"prompt": "q", "system": "own", "answer": "a"}, "other")[0]["content"] == "own"
    assert as_prompt({"text": "t"}) == []


@pytest.mark.parametrize("kind", ["domain", "expertise"])
def test_every_preset_is_a_prompt_and_a_rubric_that_can_be_read(kind: str) -> None:
    for name in presets(kind):
        chosen = persona(**{kind: name})
        assert len(chosen.system) > 20
        assert chosen.rubric.options["criteria"]
        build_reward(chosen.rubric)
    both = persona("law", "beginner")
    assert both.system.startswith(persona("law").system)
    assert len(both.rubric.options["criteria"]) == len(persona("law").rubric.options["criteria"]) + 2


def test_defaults_are_grpos() -> None:
    assert changed_switches("grpo", PolicyParameters()) == {}
