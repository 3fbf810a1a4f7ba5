"""The peer's arm of the reinforcement learning benchmark: mlx-lm-lora's own `train_grpo`, nothing of it changed; and how arms take turns.

Beta is 0, for which it leaves out the reference model. It writes as many answers at once, and learns from as many per pass, as it has
prompts in a batch; neither can be set apart, so a batch of all the step's prompts is its fastest setting.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx_lm.tuner.utils import linear_to_lora_layers

from tunesmith.data.prompts import Prompt
from tunesmith.models.loading import LoadedModel
from tunesmith.system.paths import REPOSITORY

PEER = "mlx-lm-lora"
VERSION = "5.10.2"
TURN = "turn"
FAR = 10**9


def require_peer() -> None:
    """End with a sentence when the peer is not installed."""
    if importlib.util.find_spec("mlx_lm_lora") is None:
        raise SystemExit(f"this benchmark compares with {PEER}, which is not installed; try: pip install {PEER}=={VERSION}")


def wait_for_turn() -> None:
    """Tell the parent that a step is done, and wait until it lets the next begin: only one arm works at any time."""
    assert sys.__stdout__ is not None  # the peer's own printing is led elsewhere
    print(TURN, file=sys.__stdout__, flush=True)
    if not sys.stdin.readline():
        raise SystemExit("the benchmark was ended")


class Arm:
    """One arm's process."""

    def __init__(self, name: str, shape: tuple[int, int], steps: int, seed: int) -> None:
        self._name = name
        self.figures: dict[str, Any] = {}
        command = [sys.executable, "-m", "benchmarks.rl", name, *map(str, (*shape, steps, seed))]
        self._child = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin_step(self) -> None:
        """Let it take a step."""
        assert self._child.stdin is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()

    def wait(self) -> None:
        """Wait until it wants its turn, or, after the last step, until it has told its figures."""
        assert self._child.stdout is not None
        while (line := self._child.stdout.readline().strip()) != TURN:
            if line.startswith("{"):
                self.figures = json.loads(line)
                self._child.wait()
                return
            if self._child.poll() is not None:
                raise SystemExit(f"{self._name} ended before its last step")


class Watcher:
    """Takes the peer's report of every step: its own seconds, and what it generated."""

    def __init__(self, count: int) -> None:
        self.steps: list[dict[str, float]] = []
        self._count = count

    def on_train_loss_report(self, report: dict[str, Any]) -> None:
        """Keep one step; the peer's clock stops before it reports and starts again after this returns."""
        tokens, reward = report["train_average_generated_tokens"], report["train_total_rewards_mean"]
        self.steps.append({"seconds": 1 / report["iterations_per_second"], "completion_tokens": tokens, "reward": reward})
        if len(self.steps) < self._count:
            wait_for_turn()

    def on_val_loss_report(self, report: dict[str, Any]) -> None:
        """There is no validation."""


def train_theirs(
    base: LoadedModel, prompts: Sequence[Prompt], score: Callable[[str, Any], float], group: int, settings: dict[str, Any], folder: Path
) -> list[dict[str, float]]:
    """Train by the peer's loop, leave the adapter in `folder`, return its steps; `score` is given an answer and its row's columns."""
    from mlx_lm_lora.trainer.grpo_trainer import GRPOTrainingArgs, train_grpo

    mx.random.seed(settings["seed"])
    np.random.seed(settings["seed"])  # the order of its batches
    base.model.freeze()
    linear_to_lora_layers(base.model, -1, settings["lora"])
    mx.eval(base.model.parameters())
    alike: list[float] = []

    def last_number(prompts: Any, completions: list[str], answer: list[str], types: Any = None) -> list[float]:
        del prompts, types
        rewards = [score(text, {"answer": right}) for text, right in zip(completions, answer, strict=True)]
        alike.append(float((np.ptp(np.reshape(rewards, (-1, group)), axis=1) == 0).mean()))
        return rewards

    rows = [(p.ids, base.tokenizer.encode(p.columns["answer"]), p.text, p.columns["answer"], None) for p in prompts]
    arguments = GRPOTrainingArgs(
        batch_size=settings["prompts"], group_size=group, iters=settings["steps"], beta=0.0, epsilon=0.2, epsilon_high=0.2,
        max_completion_length=settings["longest"], temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, grpo_loss_type="grpo",
        importance_sampling_level="token", steps_per_report=1, steps_per_eval=FAR, steps_per_save=FAR,
        adapter_file=str(folder / "adapters.safetensors"),
    )  # fmt: skip
    watcher = Watcher(settings["steps"])
    optimizer = optim.Adam(settings["rate"], bias_correction=True)
    wait_for_turn()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        train_grpo(
            base.model, None, base.tokenizer, optimizer, rows, None, [last_number], arguments, training_callback=watcher,
            end_answer_token="",
        )  # fmt: skip
    config = {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": settings["lora"]}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return [step | {"zero_spread_share": share} for step, share in zip(watcher.steps, alike, strict=True)]
