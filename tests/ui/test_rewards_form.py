"""The reward functions in the form of a new run: changes last, what was dropped stays away, a preset takes the last one's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tunesmith.training.rewards.domains import persona, presets
from tunesmith.training.rewards.spec import RewardSpec


@pytest.fixture
def form(open_page: Callable[..., AppTest]) -> AppTest:
    app = open_page("training")
    return app.selectbox(key="train0.method").set_value("grpo").run()


def specs(app: AppTest) -> tuple[RewardSpec, ...]:
    """Return the rewards that a start would use."""
    assert not app.exception
    found: tuple[RewardSpec, ...] = app.session_state["train_draft"].policy.rewards
    return found


def widgets(app: AppTest, kind: str, part: str) -> list[Any]:
    """Return one widget of each reward, in their order."""
    return [each for each in getattr(app, kind) if ".rewards." in (each.key or "") and each.key.endswith(f".{part}")]


def press(app: AppTest, part: str, place: int = 0) -> AppTest:
    return widgets(app, "button", part)[place].click().run()


def test_changed_rewards_outlast_a_look_at_another_page(form: AppTest) -> None:
    widgets(form, "selectbox", "function")[0].set_value("numeric").run()
    widgets(form, "number_input", "weight")[0].set_value(3.0).run()
    before = specs(form)
    assert (before[0].function, before[0].weight) == ("numeric", 3.0)
    form.switch_page("../../../pages/dataset.py").run()
    form.switch_page("../../../pages/training.py").run()
    assert specs(form) == before


def test_what_was_dropped_does_not_come_back(form: AppTest) -> None:
    """A browser keeps a widget's value under its id: under the same one it would send the dropped function again."""
    press(form, "add")
    (first, second), dropped = specs(form), widgets(form, "selectbox", "function")[0].proto.id
    assert first.function != second.function
    press(form, "drop")
    (left,) = widgets(form, "selectbox", "function")
    assert left.proto.id != dropped
    assert specs(form) == (second,)


def test_a_drop_leaves_the_others_as_they_were_set(form: AppTest) -> None:
    press(form, "add")
    widgets(form, "number_input", "weight")[1].set_value(2.5).run()
    _, second = specs(form)
    press(form, "drop")
    assert specs(form) == (second,)
    assert second.weight == 2.5


def test_another_preset_takes_the_first_one_s_place(form: AppTest) -> None:
    first, second, *_ = presets("domain")
    for domain in (first, second):
        widgets(form, "selectbox", "domain")[0].set_value(domain).run()
        press(form, "use")
        rubrics = [spec for spec in specs(form) if spec.function == "rubric"]
        assert rubrics == [persona(domain, "").rubric]
        assert form.session_state["train_draft"].policy.system_prompt == persona(domain, "").system
