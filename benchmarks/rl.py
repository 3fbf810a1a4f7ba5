"""GRPO against mlx-lm-lora: seconds per step at three shapes, and held-out reward after the same number of steps.

Same model, prompts, adapter, optimiser, rate, reward function, answer limit, number of completions per step, BLAS, and no compiler; each
arm in a process of its own, in turns. A run's first step is not counted. The ten steps behind it hold one of those in ten where ours
also measures the distance to the base. What both were rewarded and how long their answers are is kept, for speed depends on it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median
from typing import Any

from tunesmith.models.blas import prepare_engine

prepare_engine()  # before the first import of mlx

from mlx_lm.tuner.utils import load_adapters  # noqa: E402

from benchmarks.reporting import publish  # noqa: E402
from benchmarks.rl_peer import PEER, require_peer, train_theirs  # noqa: E402
from tunesmith.data.prompts import PromptRules, Prompts, read_prompts  # noqa: E402
from tunesmith.inference.batch_generation import Drawing, generate_groups  # noqa: E402
from tunesmith.models.loading import LoadedModel, load_model  # noqa: E402
from tunesmith.models.tuning import find_lora_keys  # noqa: E402
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL, REPOSITORY  # noqa: E402
from tunesmith.training.config import LoraParameters, TrainConfig  # noqa: E402
from tunesmith.training.policy_config import PolicyParameters  # noqa: E402
from tunesmith.training.registry import METHODS  # noqa: E402
from tunesmith.training.rewards.correctness import Numeric  # noqa: E402
from tunesmith.training.rewards.spec import Completion, RewardSpec  # noqa: E402
from tunesmith.training.rollouts import text_of  # noqa: E402
from tunesmith.training.run import train  # noqa: E402

DATA = DEMO_DATA / "arithmetic"
SHAPES = ((1, 8), (1, 16), (4, 8))  # prompts x group
STEPS, REPEATS = 11, 4
LEARNING, LEARNING_STEPS, SEEDS = (4, 8), 60, 3
RANK, SCALE, RATE, LONGEST, LONGEST_ROW = 16, 4.0, 5e-4, 24, 256
ARMS = ("ours", "theirs")
FAR = 10**6
FIGURES = ("completion_tokens", "reward", "zero_spread_share")
PHASES = ("seconds_rollout", "seconds_reward", "seconds_score", "seconds_update")


def score(text: str, columns: dict[str, Any]) -> float:
    """Return 1 when the last number of an answer is the right one. Ours names the same function in its settings."""
    return Numeric().score(Completion(text), columns) or 0.0


def read_questions(base: LoadedModel) -> Prompts:
    """Return the prompts as our run reads them."""
    return read_prompts(DATA, METHODS["grpo"].row_kinds, base.tokenizer, PromptRules(LONGEST_ROW - LONGEST, 0.0, 0))


def run_ours(prompts: int, group: int, steps: int, seed: int, folder: Path) -> tuple[list[dict[str, float]], Path]:
    """Train by our loop; return its steps and the adapter's folder."""
    policy = PolicyParameters((RewardSpec("numeric"),), num_generations=group, max_completion_length=LONGEST, temperature=1.0, beta=0.0)
    config = TrainConfig(
        method="grpo", iters=steps, batch_size=prompts, learning_rate=RATE, lr_schedule="constant", grad_clip=0.0, seed=seed,
        max_seq_length=LONGEST_ROW, lora_parameters=LoraParameters(rank=RANK, scale=SCALE), steps_per_report=1, steps_per_eval=FAR,
        save_every=FAR, val_batches=0, policy=policy,
    )  # fmt: skip
    train(config, DEMO_MODEL, DATA, folder, lambda: "")
    reports = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = [r for r in reports if "train_loss" in r]
    return [{"seconds": r["seconds_per_step"], **{name: r[name] for name in (*FIGURES, *PHASES)}} for r in kept], folder / "adapter"


def run_theirs(prompts: int, group: int, steps: int, seed: int, folder: Path) -> tuple[list[dict[str, float]], Path]:
    """Train by the peer's loop; return its steps and the adapter's folder."""
    base = load_model(DEMO_MODEL)
    lora = {"rank": RANK, "scale": SCALE, "dropout": 0.0, "keys": find_lora_keys(base.model, "all")}
    settings = {"prompts": prompts, "steps": steps, "seed": seed, "rate": RATE, "longest": LONGEST, "lora": lora}
    return train_theirs(base, read_questions(base).train, score, group, settings, folder), folder


def held_out(adapter: Path | None) -> float:
    """Return the mean reward of one greedy answer to each held-out question, base and adapter loaded anew: the same for both arms."""
    base = load_model(DEMO_MODEL)
    if adapter is not None:
        load_adapters(base.model, str(adapter))
    base.model.eval()
    prompts = read_questions(base).valid
    stops = sorted(base.tokenizer.eos_token_ids)
    answers = generate_groups(base.model, [prompt.ids for prompt in prompts], 1, stops, Drawing(LONGEST))
    return mean(score(text_of(base.tokenizer, group[0].ids), p.columns) for p, group in zip(prompts, answers, strict=True))


def run_arm(arm: str, prompts: int, group: int, steps: int, seed: int) -> None:
    """Be one arm: train, then tell the figures on the last line."""
    with tempfile.TemporaryDirectory() as folder:
        reports, adapter = (run_ours if arm == "ours" else run_theirs)(prompts, group, steps, seed, Path(folder))
        print(json.dumps({"steps": reports, "held_out": held_out(adapter)}))


def call_arm(arm: str, shape: tuple[int, int], steps: int, seed: int) -> dict[str, Any]:
    """Run an arm in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.rl", arm, *map(str, (*shape, steps, seed))]
    output = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    answer["seconds_per_step"] = mean(step["seconds"] for step in answer["steps"][1:])
    return answer


def take_turns(shape: tuple[int, int], steps: int, times: int) -> dict[str, list[dict[str, Any]]]:
    """Run both arms several times, each order as often."""
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for seed in range(times):
        for arm in ARMS if seed % 2 == 0 else reversed(ARMS):
            runs[arm].append(call_arm(arm, shape, steps, seed))
    return runs


def over_steps(runs: list[dict[str, Any]], figure: str) -> float:
    """Return a figure's mean over all counted steps of an arm's runs."""
    return mean(step[figure] for run in runs for step in run["steps"][1:])


def describe(shape: tuple[int, int], runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return one line of the table: the median run of each arm, and what makes the arms comparable."""
    prompts, group = shape
    seconds = {arm: [run["seconds_per_step"] for run in runs[arm]] for arm in ARMS}
    pairs = [theirs / ours for ours, theirs in zip(*seconds.values(), strict=True)]
    cell: dict[str, Any] = {
        "shape": f"{prompts}x{group}", "wall_ratio": median(seconds["theirs"]) / median(seconds["ours"]),
        "wall_ratio_least": min(pairs), "wall_ratio_most": max(pairs),
    }  # fmt: skip
    for arm in ARMS:
        cell[f"{arm}_seconds_per_step"] = median(seconds[arm])
        cell |= {f"{arm}_{figure}": over_steps(runs[arm], figure) for figure in FIGURES}
        cell[f"{arm}_tokens_per_step"] = cell[f"{arm}_completion_tokens"] * prompts * group
        cell[f"{arm}_runs"] = seconds[arm]
    cell["per_token_ratio"] = cell["wall_ratio"] * cell["ours_tokens_per_step"] / cell["theirs_tokens_per_step"]
    cell["ours_phases"] = {name: over_steps(runs["ours"], name) for name in PHASES}
    return cell | {"theirs_answers_at_once": prompts, "theirs_rows_per_pass": prompts}


def print_cell(cell: dict[str, Any]) -> None:
    """Print one line of the table."""
    told = [f"| {cell['shape']} | {cell['wall_ratio']:.2f} ({cell['wall_ratio_least']:.2f} to {cell['wall_ratio_most']:.2f})"]
    for figure, form in (("seconds_per_step", ".3f"), ("tokens_per_step", ".0f"), ("reward", ".2f"), ("zero_spread_share", ".2f")):
        told.append(" / ".join(format(cell[f"{arm}_{figure}"], form) for arm in ARMS))
    print(" | ".join([*told, f"{cell['theirs_answers_at_once']} |"]), flush=True)


def main() -> None:
    """Measure every shape, then what both have learned; or be one arm when asked to."""
    require_peer()
    if len(sys.argv) > 1:
        run_arm(sys.argv[1], *map(int, sys.argv[2:]))
        return
    began = time.perf_counter()
    print("| prompts x group | theirs / ours | seconds per step | tokens per step | reward | groups alike | theirs at once |")
    print("|---|---|---|---|---|---|---|", flush=True)
    timed = {shape: take_turns(shape, STEPS, REPEATS) for shape in SHAPES}
    cells = [describe(shape, runs) for shape, runs in timed.items()]
    for cell in cells:
        print_cell(cell)
    learned = take_turns(LEARNING, LEARNING_STEPS, SEEDS)
    while_learning = describe(LEARNING, learned)
    print_cell(while_learning)
    record: dict[str, Any] = {"heldout_before": held_out(None)}
    for arm in ARMS:
        by_seed = [run["held_out"] for run in learned[arm]]
        firsts = [run["steps"][0] for runs in (*timed.values(), learned) for run in runs[arm]]
        record[f"heldout_{arm}"] = {"mean": mean(by_seed), "by_seed": by_seed}
        record[f"first_step_{arm}"] = {figure: mean(step[figure] for step in firsts) for figure in FIGURES}
    for name, value in record.items():
        print(f"  {name}  {value}")
    publish("rl", {
        "peer": f"{PEER} {version(PEER)}", "cells": cells, **record, "while_learning": while_learning | {"steps": LEARNING_STEPS},
        "rank": RANK, "scale": SCALE, "learning_rate": RATE, "longest_completion": LONGEST, "beta": 0.0, "temperature": 1.0,
        "counted_steps": STEPS - 1, "repeats": REPEATS, "seconds_whole": time.perf_counter() - began,
    })  # fmt: skip


if __name__ == "__main__":
    main()
