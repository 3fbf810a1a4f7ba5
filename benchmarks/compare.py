"""A base and four adapters answering one short question in one batch, against each of the five answering alone.

Alone means the same base wearing one adapter (or none), one token after the other by mlx-lm's own generator. All answers are greedy and
equally long: nothing ends an answer before its 64th token. `time_ratio` is the batch's time over the mean of the five times alone, prompts
included. Each cell's arms take turns, in both orders; the first turn is not counted. The tokens of every answer are compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

from tunesmith.models.blas import prepare_engine

prepare_engine()  # before the first import of mlx

import mlx.core as mx  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402

from benchmarks.reporting import measure_models, publish  # noqa: E402
from tests.random_adapters import make_adapter  # noqa: E402
from tunesmith.inference.adapter_bank import Adapter, AdapterBank  # noqa: E402
from tunesmith.inference.comparison import Variant, compare  # noqa: E402
from tunesmith.inference.generation import generate_side_by_side  # noqa: E402
from tunesmith.inference.protocol import Delta  # noqa: E402
from tunesmith.inference.sampling import Sampling  # noqa: E402
from tunesmith.models.loading import load_model  # noqa: E402

QUESTION = [{"role": "user", "content": "What is the capital of Japan?"}]
ADAPTERS, RANK, SCALE, TOKENS = 4, 8, 8.0, 64
TURNS = {"demo": 9, "random-60m": 3}
SAMPLING = Sampling(max_tokens=TOKENS)
Told = dict[int, list[tuple[str, float | None]]]


def open_bank(model: Path, folder: Path) -> tuple[AdapterBank, list[Adapter | None]]:
    """Return a base that never ends an answer, and none and its adapters of all linear layers."""
    bank = AdapterBank(load_model(model))
    bank.base.model.eval()
    bank.base.tokenizer.eos_token_ids = set()
    folders = [make_adapter(folder / f"adapter-{seed}", model, rank=RANK, scale=SCALE, seed=seed) for seed in range(ADAPTERS)]
    return bank, [None, *(bank.load(each) for each in folders)]


def collect(deltas: Any) -> Told:
    """Return the answers by variant: each token's text and log-probability."""
    told: Told = {}
    delta: Delta
    for delta in deltas:
        told.setdefault(delta.variant, []).append((delta.text, delta.logprob))
    return told


def answer_together(bank: AdapterBank, adapters: Sequence[Adapter | None]) -> Told:
    """Return all answers, written in one batch."""
    return collect(compare(bank, [Variant(adapter) for adapter in adapters], QUESTION, SAMPLING))


def answer_in_turns(bank: AdapterBank, adapters: Sequence[Adapter | None]) -> Told:
    """Return the answers, one token each in turn; of one adapter, its answer alone."""
    activates = [lambda adapter=adapter: bank.activate(adapter) for adapter in adapters]
    told = collect(generate_side_by_side(bank.base.model, bank.base.tokenizer, QUESTION, SAMPLING, activates))
    bank.activate(None)
    return told


class Taken(NamedTuple):
    """What an arm took in one turn; `cpu_seconds` are those of all its threads, `peak_bytes` those of arrays."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    told: Told


def timed(work: Callable[[], Told]) -> Taken:
    """Run an arm once."""
    mx.clear_cache()
    mx.reset_peak_memory()
    began, cpu_began = time.perf_counter(), time.process_time()
    told = work()
    return Taken(time.perf_counter() - began, time.process_time() - cpu_began, mx.get_peak_memory(), told)


def take_turns(bank: AdapterBank, adapters: list[Adapter | None], turns: int) -> dict[str, list[Taken]]:
    """Run every arm once a turn, every second turn backwards; drop the first turn."""
    arms: dict[str, Callable[[], Told]] = {"together": lambda: answer_together(bank, adapters)}
    for number, adapter in enumerate(adapters):
        arms[f"alone-{number}"] = lambda adapter=adapter: answer_in_turns(bank, [adapter])
    arms["turns"] = lambda: answer_in_turns(bank, adapters)
    took: dict[str, list[Taken]] = {name: [] for name in arms}
    for turn in range(turns + 1):
        for name in arms if turn % 2 == 0 else reversed(arms):
            took[name].append(timed(arms[name]))
    return {name: each[1:] for name, each in took.items()}


def ratios_of(took: dict[str, list[Taken]], alone: Sequence[str], figure: str) -> list[float]:
    """Return the batch's time over the mean of the times alone, turn by turn."""
    times = {name: [getattr(each, figure) for each in arm] for name, arm in took.items()}
    return [together / mean(times[name][turn] for name in alone) for turn, together in enumerate(times["together"])]


def measure(label: str, model: Path, folder: Path) -> dict[str, Any]:
    """Return one line of the table."""
    bank, adapters = open_bank(model, folder)
    took = take_turns(bank, adapters, TURNS[label])
    alone = [f"alone-{number}" for number in range(len(adapters))]
    ratios, cpu_ratios = ratios_of(took, alone, "seconds"), ratios_of(took, alone, "cpu_seconds")
    seconds = {name: median(each.seconds for each in arm) for name, arm in took.items()}
    told = took["together"][0].told
    expected = {number: took[name][0].told[0] for number, name in enumerate(alone)}
    differences = [abs(a[1] - b[1]) for n, answer in expected.items() for a, b in zip(told[n], answer, strict=True) if a[1] and b[1]]
    base_bytes = sum(weight.nbytes for _, weight in tree_flatten(bank.base.model.parameters()))
    factors = [part.lora_a.nbytes + part.lora_b.nbytes for adapter in adapters if adapter for part in adapter.parts.values()]
    return {
        "model": label, "time_ratio": median(ratios), "time_ratio_least": min(ratios), "time_ratio_most": max(ratios),
        "cpu_time_ratio": median(cpu_ratios), "turns": TURNS[label],
        "time_ratio_to_base_alone": seconds["together"] / seconds["alone-0"],
        "time_ratio_to_adapter_alone": seconds["together"] / mean(seconds[name] for name in alone[1:]),
        "turns_over_together": seconds["turns"] / seconds["together"], "seconds_together": seconds["together"],
        "seconds_alone": mean(seconds[name] for name in alone), "seconds_base_alone": seconds["alone-0"],
        "tokens_equal": all([t for t, _ in told[n]] == [t for t, _ in answer] for n, answer in expected.items()),
        "answers_told_apart": len({"".join(t for t, _ in answer) for answer in told.values()}),
        "max_logprob_difference": max(differences), "base_bytes": base_bytes, "adapters_bytes": sum(factors),
        "peak_bytes_together": max(each.peak_bytes for each in took["together"]),
        "peak_bytes_alone": max(each.peak_bytes for name in alone for each in took[name]),
    }  # fmt: skip


def main() -> None:
    """Print the table and write the JSON; of all models, or of those that are named."""
    columns = {
        "model": "model", "time_ratio": "together / alone", "cpu_time_ratio": "in CPU seconds", "time_ratio_to_base_alone": "to base alone",
        "time_ratio_to_adapter_alone": "to adapter alone", "turns_over_together": "turns / together", "tokens_equal": "tokens equal",
    }  # fmt: skip
    cells = measure_models(measure, columns)
    publish("compare", {
        "time_ratio": max(cell["time_ratio"] for cell in cells), "tokens_equal": all(cell["tokens_equal"] for cell in cells),
        "cells": cells, "adapters": ADAPTERS, "rank": RANK, "tokens": TOKENS,
    })  # fmt: skip


if __name__ == "__main__":
    main()
