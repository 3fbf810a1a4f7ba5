"""YAML to config and back."""

from __future__ import annotations

import json

import pytest

from tunesmith.errors import UserError
from tunesmith.settings.files import from_mapping, parse_yaml, to_mapping, to_yaml
from tunesmith.settings.schema import AppSettings
from tunesmith.training.config import TrainConfig


def test_round_trip_keeps_every_value() -> None:
    config = from_mapping(TrainConfig, {"model": "m", "learning_rate": "3e-4", "lora_parameters": {"rank": 16, "scale": 2}})
    assert config.learning_rate == 3e-4
    assert config.lora_parameters.scale == 2.0
    assert from_mapping(TrainConfig, parse_yaml(to_yaml(config), "x")) == config
    settings = AppSettings(model_folders=("/a", "/b"))
    assert from_mapping(AppSettings, to_mapping(settings)) == settings


def test_json_is_read_as_programs_write_it() -> None:
    """Python's json writes characters beyond U+FFFF as pairs of surrogates, which YAML refuses."""
    assert parse_yaml(json.dumps({"name": "😀 𠮷野家", "iters": 3}), "x") == {"name": "😀 𠮷野家", "iters": 3}
    assert parse_yaml("{name: plain}", "x") == {"name": "plain"}


@pytest.mark.parametrize(
    ("values", "code", "facts"),
    [
        ({"learning_rat": 1}, "setting_unknown", {"nearest": "learning_rate"}),
        ({"lora_parameters": {"rnak": 1}}, "setting_unknown", {"nearest": "rank"}),
        ({"lora_parameters": 3}, "setting_type", {"field": "lora_parameters"}),
        ({"iters": "many"}, "setting_type", {"field": "iters", "expected": "int"}),
        ({"iters": True}, "setting_type", {"field": "iters"}),
        ({"iters": 0}, "setting_too_small", {"field": "iters", "minimum": 1}),
        ({"learning_rate": float("nan")}, "setting_too_small", {"field": "learning_rate"}),
        ({"learning_rate": 2}, "setting_too_large", {"field": "learning_rate", "maximum": 1.0}),
        ({"optimizer": "adamm"}, "setting_choice", {"field": "optimizer"}),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, object], code: str, facts: dict[str, object]) -> None:
    with pytest.raises(UserError) as caught:
        from_mapping(TrainConfig, values)
    assert caught.value.code == code
    assert facts.items() <= caught.value.facts.items()


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2", "just text", "a: !!int _", "a: !!bool foo", "a: !!timestamp foo", "? {a: b}\n: 1"])
def test_a_text_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "config.yaml")
    assert caught.value.code == "yaml_unreadable"


def test_yaml_builds_no_objects() -> None:
    with pytest.raises(UserError):
        parse_yaml("a: !!python/object/apply:os.system ['true']", "config.yaml")
