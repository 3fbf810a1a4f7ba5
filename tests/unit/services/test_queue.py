"""The line of waiting runs: order, moves, priorities, quiet hours; and sweeps that fill it. No worker is started."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime, time

import pytest

from tunesmith.errors import UserError
from tunesmith.jobs.queue import is_quiet, parse_quiet_hours
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.services import queue, runs, sweeps, training
from tunesmith.services.context import Services
from tunesmith.training.config import TrainConfig

CONFIG = TrainConfig(model="demo", data="company_facts")


@pytest.fixture
def add(services: Services) -> Callable[[str], str]:
    return lambda name: training.submit(services, dataclasses.replace(CONFIG, name=name))


def names(services: Services) -> list[str]:
    return [w.name for w in queue.overview(services).waiting]


def test_first_come_first_served_until_people_say_otherwise(services: Services, add: Callable[[str], str]) -> None:
    a, _, c = add("a"), add("b"), add("c")
    assert names(services) == ["a", "b", "c"]
    queue.move(services, c, "up")
    assert names(services) == ["a", "c", "b"]
    queue.move(services, a, "down")
    assert names(services) == ["c", "a", "b"]
    queue.move(services, a, "down")
    assert names(services) == ["c", "b", "a"]
    queue.move(services, a, "down")  # already the last
    queue.move(services, a, "first")
    assert names(services) == ["a", "c", "b"]
    add("d")
    assert names(services) == ["a", "c", "b", "d"]


def test_two_runs_can_change_places_for_ever(services: Services, add: Callable[[str], str]) -> None:
    """Each swap halves the room between the neighbours: between two numbers there are only some fifty others."""
    ids = {name: add(name) for name in "abcd"}
    queue.set_priority(services, ids["d"], -1)
    for _ in range(80):
        *_, before, last, _ = names(services)
        queue.move(services, ids[last], "up")
        assert names(services) == ["a", last, before, "d"]
    assert [w.priority for w in queue.overview(services).waiting] == [0, 0, 0, -1]
    add("e")
    assert names(services)[3] == "e"


def test_priorities_come_before_places(services: Services, add: Callable[[str], str]) -> None:
    a, b, c = add("a"), add("b"), add("c")
    queue.set_priority(services, c, 1)
    queue.set_priority(services, a, -1)
    assert names(services) == ["c", "b", "a"]
    queue.move(services, b, "up")  # takes over the priority of the place
    assert names(services) == ["b", "c", "a"]
    assert [w.priority for w in queue.overview(services).waiting] == [1, 1, -1]


def test_a_run_that_does_not_wait_cannot_be_moved(services: Services, add: Callable[[str], str]) -> None:
    run = add("a")
    services.store.transition(services.store.get(run), "cancelled")
    with pytest.raises(UserError) as caught:
        queue.move(services, run, "up")
    assert caught.value.code == "run_not_waiting"


def test_what_cannot_be_resumed_says_so(services: Services, add: Callable[[str], str]) -> None:
    run = add("a")
    services.store.transition(services.store.get(run), "cancelled")
    for act, code in ((runs.resume, "run_not_resumable"), (runs.pause, "run_not_active")):
        with pytest.raises(UserError) as caught:
            act(services, run)
        assert caught.value.code == code
    with pytest.raises(UserError) as caught:
        training.continue_run(services, run, 5)
    assert caught.value.code == "run_not_continuable"


def test_quiet_hours_pass_midnight() -> None:
    night = parse_quiet_hours("22:00-07:00")
    assert night == (time(22), time(7))
    assert [is_quiet(night, datetime(2026, 1, 1, hour)) for hour in (21, 22, 3, 7)] == [False, True, True, False]
    day = parse_quiet_hours(" 09:00 - 18:00 ")
    assert [is_quiet(day, datetime(2026, 1, 1, hour)) for hour in (8, 9, 17, 18)] == [False, True, True, False]
    assert not is_quiet(parse_quiet_hours(""), datetime(2026, 1, 1))
    for text in ("9", "25:00-26:00", "09:00-", "a-b", "1-2-3"):
        with pytest.raises(UserError):
            parse_quiet_hours(text)


def test_nothing_starts_in_quiet_hours(services: Services, add: Callable[[str], str]) -> None:
    run = add("a")
    Supervisor(services.store, lambda: False).tick()
    assert services.store.get(run).status == "queued"


def test_a_sweep_is_every_combination_in_one_group(services: Services) -> None:
    grid = {"learning_rate": sweeps.parse_values("1e-4, 3e-4"), "lora_parameters.rank": sweeps.parse_values("4,8,16")}
    ids = sweeps.start_sweep(services, CONFIG, grid)
    records = [services.store.get(run) for run in ids]
    assert len({r.group for r in records}) == 1
    configs = [runs.snapshot(services, run).config for run in ids]
    assert [(c.learning_rate, c.lora_parameters.rank) for c in configs] == [
        (1e-4, 4), (1e-4, 8), (1e-4, 16), (3e-4, 4), (3e-4, 8), (3e-4, 16)
    ]  # fmt: skip
    assert configs[0].name == "company_facts · learning_rate 1e-4, rank 4"


@pytest.mark.parametrize(
    ("grid", "code"),
    [
        ({"iters": list(range(1, 80))}, "sweep_too_large"),
        ({"iters": [10, 0]}, "setting_too_small"),
        ({"optimizer": ["adam", "adamm"]}, "setting_choice"),
        ({"iters": [10, "many"]}, "setting_type"),
        ({"num_layers": [1, 99]}, "too_many_layers"),
    ],
)
def test_a_wrong_sweep_queues_nothing(services: Services, grid: dict[str, list[object]], code: str) -> None:
    with pytest.raises(UserError) as caught:
        sweeps.start_sweep(services, CONFIG, grid)
    assert caught.value.code == code
    assert names(services) == []


def test_every_sweepable_setting_is_one(services: Services) -> None:
    for config in (CONFIG, CONFIG.with_method("dapo"), CONFIG.with_method("dpo")):
        for name in sweeps.sweepable_settings(config):
            outer, _, inner = name.partition(".")
            value = getattr(getattr(config, outer), inner) if inner else getattr(config, outer)
            assert len(sweeps.expand(config, {name: [value]})) == 1
    assert "policy.beta" in sweeps.sweepable_settings(CONFIG.with_method("grpo"))
    assert "policy.beta" not in sweeps.sweepable_settings(CONFIG)


def test_profiles_are_complete_settings(services: Services) -> None:
    assert training.profiles() == ["chat", "code", "instruction", "preference", "rewards", "rewards_demo", "tiny-demo"]
    for name in training.profiles():
        config = training.load_profile(name, "demo", "preference" if name == "preference" else "company_facts")
        assert training._find_problems(services, config) == []


def test_values_of_a_sweep_are_read_once_each_and_what_is_no_value_is_named() -> None:
    assert sweeps.parse_values(" 8, 16,8 ,, true, cosine") == [8, 16, True, "cosine"]
    for text, code, facts in ((" , ", "sweep_without_values", {}), ("1e-4, {a", "sweep_value_unreadable", {"value": "{a"})):
        with pytest.raises(UserError) as caught:
            sweeps.parse_values(text)
        assert (caught.value.code, caught.value.facts) == (code, facts)
