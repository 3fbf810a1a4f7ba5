"""The demo of rewards: held-out accuracy on sums before and after, three seeds per method. `make bench BENCH=rl_demo`."""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.reporting import publish
from tunesmith.models.blas import prepare_engine

prepare_engine()  # before the first import of mlx

from tunesmith.settings.files import from_mapping, read_yaml  # noqa: E402
from tunesmith.store.files import LineTail  # noqa: E402
from tunesmith.system.paths import CONFIG, DEMO_DATA, DEMO_MODEL  # noqa: E402
from tunesmith.training.config import TrainConfig  # noqa: E402
from tunesmith.training.policy_config import with_switches  # noqa: E402
from tunesmith.training.run import train  # noqa: E402

METHODS = ("grpo", "gspo", "dr_grpo")
SEEDS = (0, 1, 2)
T_OF_TWO = 4.303  # Student's t, two-sided 95 %, two degrees of freedom


def settings(method: str, seed: int) -> TrainConfig:
    """Return the demo profile for a method: its own switches, everything else the same."""
    profile = from_mapping(TrainConfig, read_yaml(CONFIG / "profiles" / "rewards_demo.yaml"))
    return dataclasses.replace(profile, method=method, policy=with_switches(method, profile.policy), seed=seed)


def accuracy(config: TrainConfig) -> tuple[float, float, float]:
    """Train; return the share of held-out sums answered right before and after, and the seconds."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train(config, DEMO_MODEL, DEMO_DATA / config.data, Path(folder), lambda: "")
        values = [line["val_reward"] for line in LineTail(Path(folder) / "metrics.jsonl").read_new() if "val_reward" in line]
    return values[0], values[-1], time.perf_counter() - began


def interval(values: list[float]) -> list[float]:
    """Return the 95 % interval of the mean of three values."""
    half = T_OF_TWO * statistics.stdev(values) / math.sqrt(len(values))
    return [statistics.mean(values) - half, statistics.mean(values) + half]


def main() -> None:
    """Measure every method, print a table, write the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS)
    results = {}
    print(f"{'method':<10}{'before':>8}{'after, by seed':>24}{'mean':>8}   95 % interval of the gain   seconds")
    for method in parser.parse_args().methods:
        runs = [accuracy(settings(method, seed)) for seed in SEEDS]
        before, after = [run[0] for run in runs], [run[1] for run in runs]
        gain = interval([b - a for a, b in zip(before, after, strict=True)])
        results[method] = {
            "before": statistics.mean(before), "after": statistics.mean(after), "after_by_seed": after, "interval": interval(after),
            "gain_interval": gain, "rising": gain[0] > 0, "seconds_per_run": statistics.mean(run[2] for run in runs),
        }  # fmt: skip
        told = "  ".join(f"{value:.3f}" for value in after)
        print(
            f"{method:<10}{statistics.mean(before):>8.3f}{told:>24}{statistics.mean(after):>8.3f}   "
            f"{gain[0]:+.3f} … {gain[1]:+.3f}            {results[method]['seconds_per_run']:.0f}"
        )
    publish("rl_demo", {**results, "steps": settings("grpo", 0).iters, "held_out_prompts": 40})


if __name__ == "__main__":
    main()
