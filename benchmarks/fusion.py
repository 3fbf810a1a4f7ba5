"""Fusion of three LoRA adapters of a llama (hidden 2048, intermediate 5504, 32 layers × 7 modules, rank 16) beside peft and mergekit.

One thread for every arm, in one process; seconds are CPU time. The exact sum cut to rank 16 is measured for the whole model as ours;
peft's `svd` for one layer's modules, and its time for 32 layers is projected from that. The element-wise ones take turns with mergekit on
one layer's modules: ours begins at the factors, mergekit is handed ready dense changes. Results are compared first; where values are drawn
by chance, mergekit is handed our masks for that. Peak memory of ours is what numpy holds beyond the factors, in dense matrices of the
largest module.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from statistics import median
from typing import Any

import numpy as np
import peft
import torch
from mergekit.merge_methods.api import merge_tensors
from threadpoolctl import threadpool_limits

from benchmarks.reporting import publish
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.deltas import Delta, LowRank, refactor, to_dense
from tunesmith.fusion.methods import METHODS, fuse_deltas

LAYERS, HIDDEN, INTERMEDIATE, RANK, ADAPTERS = 32, 2048, 5504, 16, 3
SHAPES = {
    "q_proj": (HIDDEN, HIDDEN), "k_proj": (HIDDEN, HIDDEN), "v_proj": (HIDDEN, HIDDEN), "o_proj": (HIDDEN, HIDDEN),
    "gate_proj": (INTERMEDIATE, HIDDEN), "up_proj": (INTERMEDIATE, HIDDEN), "down_proj": (HIDDEN, INTERMEDIATE),
}  # fmt: skip
LARGEST = "gate_proj"
WEIGHTS = [0.5, 0.3, 0.2]
REPEATS = int(os.environ.get("BENCH_REPEATS", "3"))
EXACT = FusionRules("linear", rank=RANK)
ELEMENT_WISE = {
    "ties": FusionRules("ties", density=0.5),
    "dare_ties": FusionRules("dare_ties", density=0.5),
    "dare_ties l1": FusionRules("dare_ties", density=0.5, rescale="l1"),
    "della l1": FusionRules("della", density=0.5, rescale="l1"),
    "breadcrumbs_ties": FusionRules("breadcrumbs_ties", density=0.5),
}
Layer = dict[str, list[LowRank]]


def make_layer(number: int) -> Layer:
    """Return each module's factors of every adapter, about as large as trained ones."""

    def factors(shape: tuple[int, int], chance: np.random.Generator) -> LowRank:
        a = chance.standard_normal((shape[1], RANK), dtype=np.float32) * np.float32(0.02)
        b = chance.standard_normal((RANK, shape[0]), dtype=np.float32) * np.float32(0.01)
        return LowRank(a, b, 2.0)

    chance = np.random.default_rng(number)
    return {name: [factors(shape, chance) for _ in range(ADAPTERS)] for name, shape in SHAPES.items()}


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU time that work takes: of one thread it is the wall time of a machine that does nothing else."""
    began = time.process_time()
    work()
    return time.process_time() - began


def fuse_exactly(layer: Layer) -> dict[str, LowRank]:
    """Return our weighted mean of a layer's modules, cut to the rank."""
    return {name: refactor(fuse_deltas(name, deltas, WEIGHTS, EXACT), RANK)[0] for name, deltas in layer.items()}


def peft_model(layer: Layer) -> Any:
    """Return a model of one layer's modules that wears the adapters in peft's form."""
    model: Any = torch.nn.ModuleDict({name: torch.nn.Linear(shape[1], shape[0], bias=False) for name, shape in SHAPES.items()})
    config = peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(SHAPES))
    worn: Any = peft.get_peft_model(model, config, adapter_name="0")
    for number in range(ADAPTERS):
        if number:
            worn.add_adapter(str(number), config)
        for name, deltas in layer.items():
            place = worn.base_model.model[name]
            place.lora_A[str(number)].weight.data = torch.from_numpy(deltas[number].a.T.copy())
            place.lora_B[str(number)].weight.data = torch.from_numpy(deltas[number].b.T.copy())
    return worn


def compare_with_peft() -> list[dict[str, Any]]:
    """Measure the exact sum: ours for the whole model before and after peft's layer."""
    layers = [make_layer(number) for number in range(LAYERS)]
    model = peft_model(layers[0])
    names = [str(number) for number in range(ADAPTERS)]
    fuse_exactly(layers[0])  # warm
    cells = []
    for label, options in (("svd", {}), ("svd, reduced matrices", {"svd_full_matrices": False})):
        ours = [seconds(lambda: [fuse_exactly(layer) for layer in layers])]
        fused = f"fused {label}"
        took = seconds(lambda: model.add_weighted_adapter(names, WEIGHTS, fused, combination_type="svd", svd_rank=RANK, **options))  # noqa: B023
        ours.append(seconds(lambda: [fuse_exactly(layer) for layer in layers]))
        difference = largest = 0.0
        for name, delta in fuse_exactly(layers[0]).items():
            theirs = model.base_model.model[name].get_delta_weight(fused).detach().numpy()
            difference, largest = max(difference, float(np.abs(to_dense(delta) - theirs).max())), max(largest, float(np.abs(theirs).max()))
        assert difference < 1e-4 * largest, (label, difference)
        cells.append({
            "method": f"linear to rank {RANK}", "peer": f"peft {label}", "time_ratio": took * LAYERS / median(ours),
            "seconds_ours": median(ours), "seconds_peer_one_layer": took, "seconds_peer_projected": took * LAYERS,
            "max_abs_difference": difference, "largest_value": largest,
        })  # fmt: skip
        print_cell(cells[-1])
    return cells


def merge(rules: FusionRules, tensors: Sequence[Any]) -> Any:
    """Return mergekit's fusion of dense changes: models on a base of zeros, which comes first."""
    parameters: dict[str, Any] = {"weight": WEIGHTS, "density": rules.density}
    if METHODS[rules.method].sparsifier == "rank":
        parameters["epsilon"] = rules.epsilon
    if METHODS[rules.method].sparsifier == "outliers":
        parameters["gamma"] = rules.gamma
    if rules.rescale != "l1":
        parameters["rescale"] = False
    return merge_tensors(tensors, rules.method, parameters=parameters, base_index=0)


def with_base(deltas: Sequence[LowRank]) -> list[Any]:
    """Return dense changes for mergekit behind a base of zeros."""
    dense = [torch.from_numpy(to_dense(delta)) for delta in deltas]
    return [torch.zeros_like(dense[0]), *dense]


def check(rules: FusionRules, deltas: list[LowRank]) -> dict[str, float]:
    """Return how far ours is from mergekit's result with the same masks; values that differ by more than 1e-5 of the largest are counted.

    Without `l1` mergekit does not make up for what is dropped, so neither do we here. Raises AssertionError when more than 5 differ.
    """
    rules = rules if rules.rescale == "l1" else replace(rules, rescale="none")
    plain = replace(rules, method={"dare_ties": "dare_linear", "della": "della_linear"}.get(rules.method, rules.method), rescale="none")
    masks = [torch.from_numpy(to_dense(fuse_deltas("m", deltas, alone.tolist(), plain)) != 0).float() for alone in np.eye(ADAPTERS)]
    drawn, torch.bernoulli = torch.bernoulli, lambda _: masks.pop(0)
    try:
        theirs = merge(rules, with_base(deltas)).numpy()
    finally:
        torch.bernoulli = drawn
    differences, largest = np.abs(to_dense(fuse_deltas("m", deltas, WEIGHTS, rules)) - theirs), float(np.abs(theirs).max())
    different = int((differences > 1e-5 * largest).sum())
    assert different <= 5, (rules, different)
    return {
        "max_abs_difference": float(differences.max()),
        "largest_value": largest,
        "values": theirs.size,
        "values_that_differ": different,
    }


def compare_with_mergekit() -> list[dict[str, Any]]:
    """Measure the element-wise fusions of one layer's modules in turns, the first of each not counted."""
    layer = make_layer(0)
    dense = {name: with_base(deltas) for name, deltas in layer.items()}
    cells = []
    for label, rules in ELEMENT_WISE.items():
        alike = check(rules, layer[LARGEST])
        arms: dict[str, Callable[[], object]] = {
            "ours": lambda: [fuse_deltas(name, deltas, WEIGHTS, rules) for name, deltas in layer.items()],  # noqa: B023
            "peer": lambda: [merge(rules, tensors) for tensors in dense.values()],  # noqa: B023
        }
        took: dict[str, list[float]] = {"ours": [], "peer": []}
        for turn in range(REPEATS + 1):
            for name in ("ours", "peer") if turn % 2 == 0 else ("peer", "ours"):
                took[name].append(seconds(arms[name]))
        ours, theirs = took["ours"][1:], took["peer"][1:]
        pairs = [b / a for a, b in zip(ours, theirs, strict=True)]
        cells.append({
            "method": label, "peer": "mergekit", "time_ratio": median(theirs) / median(ours), "time_ratio_least": min(pairs),
            "time_ratio_most": max(pairs), "seconds_ours": median(ours), "seconds_peer_one_layer": median(theirs), **alike,
        })  # fmt: skip
        print_cell(cells[-1])
    return cells


def peak_dense_modules(work: Callable[[], Delta]) -> float:
    """Return the peak of what numpy holds while work runs, in dense matrices of the largest module."""
    out, columns = SHAPES[LARGEST]
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / (out * columns * 4)


def measure_memory() -> dict[str, float]:
    """Return the peaks by fusion, each result held; cut to a rank as well for the exact one."""
    deltas = make_layer(0)[LARGEST]
    found = {"linear": peak_dense_modules(lambda: refactor(fuse_deltas("m", deltas, WEIGHTS, EXACT), RANK)[0])}
    for label, rules in ELEMENT_WISE.items():
        found[label] = peak_dense_modules(lambda: fuse_deltas("m", deltas, WEIGHTS, rules))  # noqa: B023
    return found


def print_cell(cell: dict[str, Any]) -> None:
    """Print one line of the table."""
    figures = [f"{cell[name]:.3g}" for name in ("seconds_ours", "seconds_peer_one_layer", "time_ratio", "max_abs_difference")]
    print(f"| {cell['method']} | {cell['peer']} | " + " | ".join(figures) + " |", flush=True)


def main() -> None:
    """Print the table and write the JSON."""
    torch.set_num_threads(1)
    print("| method | peer | seconds, ours | seconds, peer's one layer | ratio | largest difference |")
    print("|---|---|---|---|---|---|", flush=True)
    with threadpool_limits(1):
        cells = compare_with_mergekit() + compare_with_peft()
        peaks = measure_memory()
    publish("fusion", {
        "layers": LAYERS, "modules_per_layer": len(SHAPES), "hidden": HIDDEN, "intermediate": INTERMEDIATE, "rank": RANK,
        "adapters": ADAPTERS, "threads": 1, "repeats": REPEATS, "cells": cells, "peak_dense_modules": peaks,
        "peak_dense_modules_most": max(peaks.values()), "peers": {name: version(name) for name in ("peft", "mergekit", "torch")},
    })  # fmt: skip


if __name__ == "__main__":
    main()
