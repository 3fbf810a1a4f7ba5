"""Policies as people start them: by the services and the command line, with their own reward files, in real worker processes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.conftest import wait_for
from tunesmith.errors import UserError
from tunesmith.services import context, plan, rewards, rollouts, runs, training
from tunesmith.services.attachments import rewards_folder
from tunesmith.services.context import Services
from tunesmith.settings.files import from_mapping, to_yaml
from tunesmith.store.files import sha256_of
from tunesmith.training.config import TrainConfig

GOOD = """
def short(prompts, completions, answer, **_):
    return [1.0 if c.strip() == a else 1 / (1 + len(c)) for c, a in zip(completions, answer)]
"""
FAILING = "def late(completions, **_):\n    raise ValueError('no idea')\n"


@pytest.fixture
def services(data_dir: Path) -> Iterator[Services]:
    services = context.build_services()
    rewards_folder(services).mkdir(parents=True)
    yield services
    services.close()


def config_of(*functions: str, **policy: object) -> TrainConfig:
    chosen = [{"function": name} for name in functions]
    values = {
        "model": "demo", "data": "arithmetic", "method": "grpo", "iters": 2, "batch_size": 2, "max_seq_length": 96, "val_batches": 1,
        "lora_parameters": {"rank": 4, "scale": 4.0},
        "policy": {"rewards": chosen, "num_generations": 4, "max_completion_length": 12, **policy},
    }  # fmt: skip
    return from_mapping(TrainConfig, values)


def finish(services: Services, config: TrainConfig) -> str:
    run_id = training.start(services, config)
    wait_for(lambda: not runs.snapshot(services, run_id).active, seconds=90)
    return run_id


def test_a_run_with_an_own_reward_file(services: Services) -> None:
    """The file is copied into the run: what is changed afterwards in the folder does not change the run."""
    file = rewards_folder(services) / "mine.py"
    file.write_text(GOOD)
    assert rewards.custom_functions(services) == (["mine.py:short"], [])
    run_id = finish(services, config_of("mine.py:short", "numeric"))
    state = runs.snapshot(services, run_id)
    assert state.status == "completed", state.error
    assert {"reward/short", "reward/numeric", "val_reward/short", "coverage/short"} <= set(state.figures)
    made = sha256_of(file)
    copy = services.store.folder(run_id).rewards / "mine.py"
    assert sha256_of(copy) == made
    started = next(event for event in runs.events(services, run_id) if event["kind"] == "rewards_loaded")
    assert started["files"] == {"mine.py": made}
    file.write_text("broken(")
    more = training.continue_run(services, run_id, 1)
    wait_for(lambda: not runs.snapshot(services, more).active, seconds=90)
    assert runs.snapshot(services, more).status == "completed"  # judged by the file as it was
    assert rollouts.steps(services, run_id) == [1, 2]
    group = rollouts.groups(services, run_id, 2)[0]
    assert len(group.completions) == 4
    assert set(group.completions[0].scores) == {"short", "numeric"}


def test_a_failing_function_stops_the_run_and_is_named(services: Services) -> None:
    (rewards_folder(services) / "bad.py").write_text(FAILING)
    state = runs.snapshot(services, finish(services, config_of("numeric", "bad.py:late")))
    assert state.status == "failed"
    assert state.error is not None
    assert state.error.code == "reward_failed_at"
    assert state.error.facts["function"] == "late"
    assert state.error.facts["line"] == 2
    assert state.error.facts["prompt"].endswith("= ?")


def test_a_failing_function_is_left_out_when_the_settings_say_so(services: Services) -> None:
    (rewards_folder(services) / "bad.py").write_text(FAILING)
    run_id = finish(services, config_of("numeric", "bad.py:late", on_reward_error="skip"))
    state = runs.snapshot(services, run_id)
    assert state.status == "completed"
    skipped = [event for event in runs.events(services, run_id) if event["kind"] == "reward_skipped"]
    assert {event["function"] for event in skipped} == {"late"}
    assert "reward/late" not in state.figures
    assert state.figures["coverage/late"] == 0


def test_what_cannot_work_is_refused_before_the_start(services: Services) -> None:
    for config, code in (
        (config_of("nothing.py:f"), "reward_file_missing"),
        (config_of("../x.py:f"), "name_not_allowed"),
        (config_of("unheard_of"), "reward_unknown"),
        (config_of("numeric", num_generations=4, keep_rollouts=4), "nothing_left_out"),
        (config_of("numeric", max_completion_length=96), "no_room_for_prompts"),
        (config_of("numeric", minibatches=9), "too_many_minibatches"),
        (config_of("numeric").with_method("dpo"), "data_not_for_method"),
    ):
        with pytest.raises(UserError) as caught:
            training.start(services, config)
        assert caught.value.code == code
        assert code in [problem.code for problem in training.preview(services, config).problems]


def test_the_preview_counts_prompts_and_pairs(services: Services) -> None:
    found = training.preview(services, config_of("numeric"))
    assert (found.problems, found.train_rows, found.valid_rows, found.steps) == ([], 115, 40, 2)
    assert found.memory is not None
    pairs = training.preview(services, TrainConfig(model="demo", data="preference").with_method("dpo"))
    assert pairs.problems == []
    assert pairs.train_rows
    assert pairs.supervised_tokens


def test_the_workbench_samples_scores_and_warns(services: Services) -> None:
    config = config_of("numeric", "target_length", "format_strict")
    trial = rewards.try_on_rows(services, config, rows=4, answers=6, given=["I do not know.", "0"])
    sampled = [answer for answer in trial.answers if answer.origin == "sampled"]
    assert len(sampled) == 24
    assert len([a for a in trial.answers if a.origin == "given"]) == 8
    assert all(a.scores["numeric"] == 1 for a in trial.answers if a.origin == "reference")
    by_name = {figures.name: figures for figures in trial.functions}
    assert by_name["format_strict"].is_constant
    assert not by_name["numeric"].is_constant
    assert {junk.kind for junk in trial.junk} == {"empty", "echo", "repeated", "long"}
    fooled = rewards.try_on_rows(services, config_of("keywords"), 2, 0, ["x"])
    assert fooled.functions[0].failed is not None
    assert fooled.functions[0].failed.code == "reward_option_empty"


def test_a_hanging_file_does_not_stop_the_workbench(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    (rewards_folder(services) / "hang.py").write_text("def slow(completions, **_):\n    while True: pass\n")
    monkeypatch.setattr("tunesmith.jobs.reward_trial.SECONDS", 3.0)
    with pytest.raises(UserError) as caught:
        rewards.try_on_rows(services, config_of("hang.py:slow"), 1, 0, ["x"])
    assert caught.value.code in {"rewards_too_slow", "reward_timeout"}


@pytest.mark.slow
def test_the_command_line_trains_tries_and_lists(tmp_path: Path, data_dir: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(to_yaml(config_of("numeric")))
    command = [sys.executable, "-m", "tunesmith.cli"]

    def tell(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments, "--json"], capture_output=True, text=True, timeout=120, check=False)

    trained = tell("train", str(file))
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["reward_last"] is not None
    tried = tell("rewards", "try", str(file), "--rows", "2", "--answers", "4")
    assert tried.returncode == 0, tried.stderr
    assert len(json.loads(tried.stdout)["answers"]) == 10
    assert "numeric" in json.loads(tell("rewards", "list").stdout)["built_in"]
    assert json.loads(tell("validate", str(file)).stdout)["problems"] == []


def test_the_plan_knows_what_writing_takes(services: Services) -> None:
    """128 answers at once: their caches are most of the memory; the estimate is within a fifth of three measured steps."""
    config = config_of("numeric", num_generations=16, max_completion_length=24)
    config = dataclasses.replace(config, batch_size=8, max_seq_length=128)
    estimated = training.preview(services, config).memory
    assert estimated is not None
    measured = plan.measure_run(services, config)
    assert measured.peak_bytes > 100e6
    assert abs(estimated.peak_bytes - measured.peak_bytes) < 0.2 * measured.peak_bytes
