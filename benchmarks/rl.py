"""GRPO against mlx-lm-lora: seconds per step at three shapes, and held-out reward after the same number of steps.

Same model, prompts, adapter, optimiser, rate, reward function, answer limit, number of completions per step, BLAS, and no compiler. Each
arm is a process of its own; they take turns step by step, in both orders, so that both meet the same machine. A run's first step is not
counted. Ten steps are a block: one in ten is a step where ours also measures the distance to the base. Both arms' rewards and lengths of
answers are kept, for speed depends on them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from tunesmith.models.blas import prepare_engine

prepare_engine()  # before the first import of mlx

from mlx_lm.tuner.utils import load_adapters  # noqa: E402

from benchmarks.reporting import publish  # noqa: E402
from benchmarks.rl_peer import PEER, Arm, require_peer, train_theirs, wait_for_turn  # noqa: E402
from tunesmith.data.prompts import PromptRules, Prompts, read_prompts  # noqa: E402
from tunesmith.inference.batch_generation import Drawing, generate_groups  # noqa: E402
from tunesmith.models.loading import LoadedModel, load_model  # noqa: E402
from tunesmith.models.tuning import find_lora_keys  # noqa: E402
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL  # noqa: E402
from tunesmith.training.config import LoraParameters, TrainConfig  # noqa: E402
from tunesmith.training.policy_config import PolicyParameters  # noqa: E402
from tunesmith.training.registry import METHODS  # noqa: E402
from tunesmith.training.rewards.correctness import Numeric  # noqa: E402
from tunesmith.training.rewards.spec import Completion, RewardSpec  # noqa: E402
from tunesmith.training.rollouts import text_of  # noqa: E402
from tunesmith.training.run import Wish, train  # noqa: E402

DATA = DEMO_DATA / "arithmetic"
ARMS = ("ours", "theirs")
BLOCK = 10
PLAN = (((1, 8), 2, 2), ((1, 16), 2, 2), ((4, 8), 6, 3))  # prompts and group, blocks of steps, seeds; the last is also judged
RANK, SCALE, RATE, LONGEST, LONGEST_ROW = 16, 4.0, 5e-4, 24, 256
FAR = 10**6
FIGURES = ("completion_tokens", "reward", "zero_spread_share")
PHASES = ("seconds_rollout", "seconds_reward", "seconds_score", "seconds_update")


def score(text: str, columns: dict[str, Any]) -> float:
    """Return 1 when the last number of an answer is the right one. Ours names the same function in its settings."""
    return Numeric().score(Completion(text), columns) or 0.0


def read_questions(base: LoadedModel) -> Prompts:
    """Return the prompts as our run reads them."""
    return read_prompts(DATA, METHODS["grpo"].row_kinds, base.tokenizer, PromptRules(LONGEST_ROW - LONGEST, 0.0, 0))


class Turns:
    """Our loop's question whether it may go on. It asks before each step, and within; a new step is one after a new line of metrics."""

    def __init__(self, metrics: Path) -> None:
        self._metrics, self._seen = metrics, -1

    def __call__(self) -> Wish:
        """Wait before each step; never ask the run to end."""
        if (size := self._metrics.stat().st_size) != self._seen:
            self._seen = size
            wait_for_turn()
        return ""


def run_ours(prompts: int, group: int, steps: int, seed: int, folder: Path) -> tuple[list[dict[str, float]], Path]:
    """Train by our loop; return its steps and the adapter's folder."""
    policy = PolicyParameters((RewardSpec("numeric"),), num_generations=group, max_completion_length=LONGEST, temperature=1.0, beta=0.0)
    config = TrainConfig(
        method="grpo", iters=steps, batch_size=prompts, learning_rate=RATE, lr_schedule="constant", grad_clip=0.0, seed=seed,
        max_seq_length=LONGEST_ROW, lora_parameters=LoraParameters(rank=RANK, scale=SCALE), steps_per_report=1, steps_per_eval=FAR,
        save_every=FAR, val_batches=0, policy=policy,
    )  # fmt: skip
    metrics = folder / "metrics.jsonl"
    train(config, DEMO_MODEL, DATA, folder, Turns(metrics))
    reports = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
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
    """Be one arm: train turn by turn, then tell the figures on the last line."""
    with tempfile.TemporaryDirectory() as folder:
        reports, adapter = (run_ours if arm == "ours" else run_theirs)(prompts, group, steps, seed, Path(folder))
        print(json.dumps({"steps": reports, "held_out": held_out(adapter)}), flush=True)


def take_turns(shape: tuple[int, int], blocks: int, seed: int) -> dict[str, dict[str, Any]]:
    """Train both arms in turns and return what they tell."""
    steps = 1 + blocks * BLOCK
    arms = {name: Arm(name, shape, steps, seed) for name in ARMS}
    for arm in arms.values():
        arm.wait()
    for step in range(steps):
        for name in ARMS if step % 2 == 0 else reversed(ARMS):
            arms[name].begin_step()
            arms[name].wait()
    return {name: arm.figures for name, arm in arms.items()}


def blocks_of(runs: Sequence[dict[str, Any]]) -> list[float]:
    """Return seconds per step of every block of counted steps."""
    return [mean(s["seconds"] for s in run["steps"][i : i + BLOCK]) for run in runs for i in range(1, len(run["steps"]), BLOCK)]


def describe(shape: tuple[int, int], runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return one line of the table: the median block of each arm, and what makes the arms comparable."""
    prompts, group = shape
    seconds = {arm: blocks_of(runs[arm]) for arm in ARMS}
    pairs = [theirs / ours for ours, theirs in zip(*seconds.values(), strict=True)]
    cell: dict[str, Any] = {
        "shape": f"{prompts}x{group}", "wall_ratio": median(seconds["theirs"]) / median(seconds["ours"]),
        "wall_ratio_least": min(pairs), "wall_ratio_most": max(pairs), "wall_ratio_when_all_teach": ratio_when_all_teach(runs),
    }  # fmt: skip
    for arm in ARMS:
        counted = [step for run in runs[arm] for step in run["steps"][1:]]
        cell[f"{arm}_seconds_per_step"] = median(seconds[arm])
        cell |= {f"{arm}_{figure}": mean(step[figure] for step in counted) for figure in FIGURES}
        cell[f"{arm}_tokens_per_step"] = cell[f"{arm}_completion_tokens"] * prompts * group
        cell |= {f"{arm}_{name}": mean(step[name] for step in counted) for name in PHASES if name in counted[0]}
    return cell | {"blocks": len(pairs), "theirs_answers_at_once": prompts, "theirs_rows_per_pass": prompts}


def ratio_when_all_teach(runs: dict[str, list[dict[str, Any]]]) -> float | None:
    """Return the ratio over the steps in which no group of ours was rewarded alike: ours learns nothing from such, and saves the time."""
    steps = {arm: [step for run in runs[arm] for step in run["steps"][1:]] for arm in ARMS}
    pairs = [pair for pair in zip(*steps.values(), strict=True) if pair[0]["zero_spread_share"] == 0]
    return sum(theirs["seconds"] for _, theirs in pairs) / sum(ours["seconds"] for ours, _ in pairs) if pairs else None


def print_cell(cell: dict[str, Any]) -> None:
    """Print one line of the table."""
    told = [f"| {cell['shape']} | {cell['wall_ratio']:.2f} ({cell['wall_ratio_least']:.2f} to {cell['wall_ratio_most']:.2f})"]
    for figure, form in (("seconds_per_step", ".3f"), ("tokens_per_step", ".0f"), ("reward", ".2f"), ("zero_spread_share", ".2f")):
        told.append(" / ".join(format(cell[f"{arm}_{figure}"], form) for arm in ARMS))
    print(" | ".join([*told, f"{cell['theirs_answers_at_once']} |"]), flush=True)


def main() -> None:
    """Measure every shape, and what both have learned at the last one; or be one arm when asked to."""
    require_peer()
    if len(sys.argv) > 1:
        run_arm(sys.argv[1], *map(int, sys.argv[2:]))
        return
    began = time.perf_counter()
    print("| prompts x group | theirs / ours | seconds per step | tokens per step | reward | groups alike | theirs at once |")
    print("|---|---|---|---|---|---|---|", flush=True)
    cells, firsts = [], []
    for shape, blocks, seeds in PLAN:
        turns = [take_turns(shape, blocks, seed) for seed in range(seeds)]
        runs = {arm: [turn[arm] for turn in turns] for arm in ARMS}
        cells.append(describe(shape, runs))
        print_cell(cells[-1])
        firsts += [{arm: turn[arm]["steps"][0] for arm in ARMS} for turn in turns]
    record: dict[str, Any] = {"heldout_before": held_out(None)}
    for arm in ARMS:
        by_seed = [run["held_out"] for run in runs[arm]]
        record[f"heldout_{arm}"] = {"mean": mean(by_seed), "stdev": stdev(by_seed), "by_seed": by_seed}
        record[f"first_step_{arm}"] = {figure: mean(step[arm][figure] for step in firsts) for figure in FIGURES}
    for name, value in record.items():
        print(f"  {name}  {value}")
    publish("rl", {
        "peer": f"{PEER} {version(PEER)}", "cells": cells, **record, "learning_steps": 1 + BLOCK * PLAN[-1][1], "rank": RANK,
        "scale": SCALE, "learning_rate": RATE, "longest_completion": LONGEST, "beta": 0.0, "temperature": 1.0,
        "seconds_whole": time.perf_counter() - began,
    })  # fmt: skip


if __name__ == "__main__":
    main()
