"""Policies on the real loop with the shipped model: exact resume, exact passes, ratios that act, a reference that is the base."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import orjson
import pytest
from mlx_lm.generate import generate

from tests.mlx.conftest import read_lines
from tunesmith.data.templates import render
from tunesmith.errors import UserError
from tunesmith.inference.batch_generation import Abandoned, Drawing, generate_groups
from tunesmith.models.loading import LoadedModel, load_model
from tunesmith.models.reference import Reference
from tunesmith.models.tuning import find_lora_keys, make_trainable
from tunesmith.settings.files import from_mapping
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL
from tunesmith.training.config import TrainConfig
from tunesmith.training.events import Recorder
from tunesmith.training.methods import policy
from tunesmith.training.prepare import prepare_run
from tunesmith.training.progress import Progress, progress_of
from tunesmith.training.rollouts import held_out_rewards
from tunesmith.training.run import train
from tunesmith.training.task import Run

SUMS = DEMO_DATA / "arithmetic"
COMMON: dict[str, Any] = {
    "iters": 3, "batch_size": 2, "learning_rate": 1e-3, "max_seq_length": 96, "steps_per_eval": 100, "val_batches": 1, "save_every": 100,
    "lora_parameters": {"rank": 4, "scale": 4.0}, "seed": 5,
}  # fmt: skip
ROLLOUTS: dict[str, Any] = {"num_generations": 4, "max_completion_length": 12, "rewards": [{"function": "numeric"}]}


def config_of(method: str, policy: dict[str, Any] | None = None, **changes: Any) -> TrainConfig:
    return from_mapping(TrainConfig, {"method": method, **COMMON, **changes, "policy": ROLLOUTS | (policy or {})})


def run(config: TrainConfig, folder: Path, wish: Callable[[], Any] = lambda: "", attempt: int = 1) -> str:
    folder.mkdir(exist_ok=True)
    return train(config, DEMO_MODEL, SUMS, folder, wish, attempt)


def adapter(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    weights: Any = mx.load(str(folder / "adapter" / "adapters.safetensors"))
    return {name: np.array(weight) for name, weight in weights.items()}


def reports(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_lines(folder / "metrics.jsonl") if "reward" in line]


def validations(folder: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["val_reward"]) for line in read_lines(folder / "metrics.jsonl") if "val_reward" in line]


def distance(left: Path, right: Path) -> float:
    one, other = adapter(left), adapter(right)
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.mark.parametrize("method", ["grpo", "gspo", "dapo"])
def test_stopped_and_resumed_is_bit_equal_to_uninterrupted(tmp_path: Path, method: str) -> None:
    config = config_of(method, iters=4)
    run(config, tmp_path / "whole")
    asked = iter(range(100))
    assert (
        run(config, tmp_path / "parts", lambda: "pause" if len(reports(tmp_path / "parts")) == 2 and next(asked) >= 0 else "") == "paused"
    )
    assert len(reports(tmp_path / "parts")) == 2
    assert run(config, tmp_path / "parts", attempt=2) == "completed"
    whole, parts = adapter(tmp_path / "whole"), adapter(tmp_path / "parts")
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    assert [r["reward"] for r in reports(tmp_path / "whole")] == [r["reward"] for r in reports(tmp_path / "parts")]


def test_a_stop_in_the_middle_of_a_rollout_takes_less_than_a_second(tmp_path: Path) -> None:
    config = config_of(
        "grpo", {"max_completion_length": 2000, "temperature": 2.0, "num_generations": 8}, max_seq_length=4096, val_batches=0
    )
    asked: list[float] = []
    calls = 0

    def wish() -> str:
        nonlocal calls
        calls += 1
        if calls == 12:  # between two tokens of the first answers
            asked.append(time.process_time())  # of a busy machine only what is ours
        return "cancel" if calls >= 12 else ""

    assert run(config, tmp_path / "run", wish) == "cancelled"
    assert time.process_time() - asked[0] < 1.0
    assert not reports(tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "step-0").is_dir()


def test_a_validation_that_was_broken_off_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("grpo", iters=2, steps_per_eval=2, keep_best=True)
    run(config, tmp_path / "whole")
    measuring = False

    def watched(run: Run, *arguments: Any) -> Any:
        nonlocal measuring
        measuring = run.progress.step == 2
        return held_out_rewards(run, *arguments)

    monkeypatch.setattr(policy, "held_out_rewards", watched)
    assert run(config, tmp_path / "parts", lambda: "pause" if measuring else "") == "paused"
    assert [step for step, _ in validations(tmp_path / "parts")] == [0]
    monkeypatch.undo()
    assert run(config, tmp_path / "parts", attempt=2) == "completed"
    assert [step for step, _ in validations(tmp_path / "parts")] == [0, 2]
    assert validations(tmp_path / "parts") == validations(tmp_path / "whole")
    assert distance(tmp_path / "parts", tmp_path / "whole") == 0


def test_a_validation_is_made_once_though_the_run_pauses_after_it(tmp_path: Path) -> None:
    wishes = iter(["pause"])
    config = config_of("grpo", iters=2, steps_per_eval=2, val_batches=0, patience=1)
    run(config, tmp_path, lambda: next(wishes, ""))
    run(config, tmp_path, attempt=2)
    samples = [event["step"] for event in read_lines(tmp_path / "events.jsonl") if event["kind"] == "sample"]
    assert samples == sorted(samples)
    assert set(samples) == {0, 2}
    assert samples.count(0) == samples.count(2)


def test_a_checkpoint_from_before_validations_were_noted_has_had_its_own() -> None:
    record = {name: value for name, value in Progress(step=4).as_record().items() if name != "validated"}
    assert progress_of(record).validated == 4
    assert progress_of(record | {"step": 0}).validated == -1


def test_an_on_policy_step_clips_nothing_and_says_so(tmp_path: Path) -> None:
    """With one minibatch every ratio is 1, the loss is −mean advantage = 0, and at the first step the adapter is still the base."""
    run(config_of("grpo", iters=1), tmp_path / "run")
    (first,) = reports(tmp_path / "run")
    assert first["train_loss"] == pytest.approx(0, abs=1e-5)
    assert first.get("ratio_deviation", 0) == first.get("clip_low", 0) == first.get("clip_high", 0) == 0
    assert first["kl"] == 0


def test_minibatches_make_gspo_another_method_than_grpo(tmp_path: Path) -> None:
    """From the second move of a step on, the ratio of the answer differs from those of its tokens, and tight clipping acts."""
    switches = {"minibatches": 4, "num_generations": 8, "num_iterations": 2}
    many = {"iters": 1, "batch_size": 4, "learning_rate": 5e-3}
    run(config_of("gspo", switches, **many), tmp_path / "gspo")
    run(config_of("grpo", {**switches, "epsilon": 3e-4, "epsilon_high": 4e-4}, **many), tmp_path / "grpo")
    assert distance(tmp_path / "gspo", tmp_path / "grpo") > 1e-5
    (figures,) = reports(tmp_path / "gspo")
    assert figures["clip_low"] + figures["clip_high"] > 0
    assert figures["ratio_deviation"] > 0


def test_one_minibatch_of_gspo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        run(config_of("gspo", {"minibatches": 1}), tmp_path / "run")
    assert caught.value.code == "sequence_ratio_of_one_minibatch"


@pytest.mark.parametrize("method", ["grpo", "dapo", "gspo"])
def test_small_passes_give_the_same_step(tmp_path: Path, method: str) -> None:
    """Passes of one row each and one pass for all add up to the same gradient; Adam's first move is compared within 1e-5."""
    for name, tokens in (("small", 33), ("whole", 100_000)):
        run(config_of(method, {"num_generations": 8}, iters=1, pass_tokens=tokens, optimizer="sgd"), tmp_path / name)
    assert distance(tmp_path / "small", tmp_path / "whole") < 1e-5
    assert max(float(np.abs(w).max()) for n, w in adapter(tmp_path / "whole").items() if n.endswith("lora_b")) > 1e-5


@pytest.mark.parametrize("kind", ["lora", "dora", "full"])
def test_the_reference_is_the_base_exactly(base: LoadedModel, kind: str) -> None:
    ids = mx.array([[1, 5, 9, 12, 7]])
    before = np.array(base.model(ids))
    make_trainable(base.model, kind, -1, {"rank": 4, "scale": 8.0, "dropout": 0.0, "keys": find_lora_keys(base.model, "all")})
    made = np.array(base.model(ids))
    reference = Reference(base.model)
    moved = [(n, w + 0.05) for n, w in _flat(base.model.trainable_parameters())]
    base.model.load_weights(moved, strict=False)
    tuned = np.array(base.model(ids))
    with reference.switched_on():
        assert np.array_equal(np.array(base.model(ids)), made)
    assert np.array_equal(np.array(base.model(ids)), tuned)
    assert np.abs(tuned - before).max() > 1e-3
    assert np.array_equal(made, before) if kind != "dora" else np.allclose(made, before, atol=1e-4)


def _flat(tree: Any) -> list[tuple[str, mx.array]]:
    from mlx.utils import tree_flatten

    return list(tree_flatten(tree))


def test_groups_share_a_prompt_and_write_what_single_generation_writes(base: LoadedModel) -> None:
    prompts = [render(base.tokenizer, [{"role": "user", "content": q}], answer_next=True) for q in ("What is 2 + 3?", "Opposite of open?")]
    stops = sorted(base.tokenizer.eos_token_ids)
    groups = generate_groups(base.model, prompts, 3, stops, Drawing(max_tokens=24))
    for prompt, group in zip(prompts, groups, strict=True):
        assert all(answer == group[0] for answer in group)
        assert group[0].ids[-1] in stops  # the stop token is learned too
        assert not group[0].truncated
        assert base.tokenizer.decode(group[0].ids[:-1]) == generate(base.model, base.tokenizer, prompt, max_tokens=24)
    (cut,) = generate_groups(base.model, prompts[:1], 2, stops, Drawing(max_tokens=2))
    assert [answer.truncated for answer in cut] == [True, True]


def test_answers_are_given_up_within_a_token(base: LoadedModel) -> None:
    calls = iter(range(100))
    with pytest.raises(Abandoned):
        generate_groups(base.model, [[1, 2, 3]], 4, [], Drawing(max_tokens=1000, temperature=1.0), lambda: next(calls) == 3)
    assert next(calls) == 4


@pytest.mark.parametrize("method", ["dapo", "dr_grpo"])
def test_groups_without_difference_are_exchanged(tmp_path: Path, method: str) -> None:
    """A reward that is the same for all leaves no group to learn from: three rounds are asked, and the adapter stays where it was."""
    always = {"function": "keywords", "options": {"forbidden": ["zzz"]}}
    run(config_of(method, {"rewards": [always], "soft_overlong": 0.0, "dynamic_sampling": True}, iters=2), tmp_path / "run")
    for report in reports(tmp_path / "run"):
        assert report["zero_spread_share"] == 1
        assert report["grad_norm"] == 0
    rounds = read_lines(tmp_path / "run" / "rollouts.jsonl")
    assert [len(record["groups"]) for record in rounds] == [6, 6]
    assert all(float(np.abs(w).max()) == 0 for n, w in adapter(tmp_path / "run").items() if n.endswith("lora_b"))


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "run"
    run(config_of("grpo", {"num_generations": 8}, iters=2, batch_size=4), folder)
    return folder


@pytest.mark.parametrize(
    "policy",
    [
        {"keep_rollouts": 2},
        {"keep_rollouts": 2, "keep_by": "advantage"},
        {"top_entropy_quantile": 0.3},
        {"beta": 0.04},
        {"scale_rewards": "batch"},
    ],
)
def test_every_option_changes_the_step(plain_run: Path, tmp_path: Path, policy: dict[str, Any]) -> None:
    run(config_of("grpo", {"num_generations": 8, **policy}, iters=2, batch_size=4), tmp_path / "changed")
    assert distance(plain_run, tmp_path / "changed") > 1e-6


def test_a_run_begins_from_an_adapter_and_refuses_another_shape(tmp_path: Path) -> None:
    run(config_of("grpo", iters=2, batch_size=4), tmp_path / "first")
    (tmp_path / "second").mkdir()
    (tmp_path / "first" / "adapter").rename(tmp_path / "second" / "begin")
    run(config_of("grpo", iters=1, learning_rate=1e-8), tmp_path / "second")
    begun: Any = mx.load(str(tmp_path / "second" / "begin" / "adapters.safetensors"))
    after = adapter(tmp_path / "second")
    assert max(float(np.abs(np.array(begun[name]) - after[name]).max()) for name in after) < 1e-6
    assert any(float(np.abs(after[name]).max()) > 0 for name in after if name.endswith("lora_b"))
    with pytest.raises(UserError) as caught:
        run(config_of("grpo", lora_parameters={"rank": 8, "scale": 4.0}), tmp_path / "second")
    assert caught.value.code == "adapter_shape_differs"


@pytest.mark.slow
def test_learning_to_add_in_a_form_it_seldom_gets_right(tmp_path: Path) -> None:
    """The reward of 25 steps at a high rate rises: the last five beat the first five."""
    config = config_of(
        "grpo", {"num_generations": 16, "max_completion_length": 16}, iters=25, batch_size=4, learning_rate=1e-3,
        lora_parameters={"rank": 16, "scale": 4.0}, seed=0, val_batches=0,
    )  # fmt: skip
    run(config, tmp_path / "run")
    rewards = [report["reward"] for report in reports(tmp_path / "run")]
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 0.05


def test_a_base_stays_untouched(tmp_path: Path) -> None:
    before = load_model(DEMO_MODEL).model.layers[0].self_attn.q_proj.weight
    run(config_of("grpo", iters=1), tmp_path / "run")
    assert mx.array_equal(before, load_model(DEMO_MODEL).model.layers[0].self_attn.q_proj.weight)


def test_kl_is_of_the_weights_that_wrote_the_answers(tmp_path: Path) -> None:
    """At the first step they are the base's, so KL is 0 however far the minibatches moved; the norm is not that of an idle one."""
    run(config_of("dapo", {"num_generations": 8, "dynamic_sampling": False}, iters=2, batch_size=4, learning_rate=5e-3), tmp_path / "run")
    first, _ = reports(tmp_path / "run")
    assert first["kl"] == pytest.approx(0, abs=1e-6)
    assert first["ratio_deviation"] > 0
    assert first["grad_norm"] > 0


@pytest.mark.parametrize("prompts", [(), ("5 + 5 = ?", "6 + 6 = ?")])
def test_answers_while_it_learns_are_asked_as_the_rollouts_are(tmp_path: Path, prompts: tuple[str, ...]) -> None:
    rows = [{"prompt": "1 + 1 = ?", "answer": "2"}, {"prompt": "2 + 2 = ?", "answer": "4", "system": "Its own."}]
    for split in ("train", "valid"):
        (tmp_path / f"{split}.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    config = config_of("grpo", {"system_prompt": "Be brief."}, sample_prompts=prompts)
    recorder = Recorder(tmp_path, 1)
    probes = prepare_run(config, DEMO_MODEL, tmp_path, tmp_path, recorder).probes
    recorder.close()
    asked = [tuple((turn["role"], turn["content"]) for turn in probe.messages) for probe in probes]
    brief, own = ("system", "Be brief."), ("system", "Its own.")
    if prompts:
        assert asked == [(brief, ("user", "5 + 5 = ?")), (brief, ("user", "6 + 6 = ?"))]
    else:
        assert sorted(asked) == [(brief, ("user", "1 + 1 = ?")), (own, ("user", "2 + 2 = ?"))]
