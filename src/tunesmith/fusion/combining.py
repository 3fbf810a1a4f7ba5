"""Adapters of one base to one change: module by module, as factors or as what is added to a weight. Knows no jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
from threadpoolctl import ThreadpoolController

from tunesmith.fusion.adapters import AdapterFactors, all_modules, read_factors
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.deltas import Array, Delta, LowRank, inner, refactor, to_dense, zero
from tunesmith.fusion.layered import check_layered, weights_for
from tunesmith.fusion.methods import check_rules, fuse_deltas
from tunesmith.models.weights import BaseWeights
from tunesmith.system.progress import Progress, silent


@dataclass(frozen=True)
class Source:
    """An adapter to be fused: what people call it, and its folder."""

    name: str
    folder: Path


class Fusion:
    """Adapters of one base and how they are to be fused. Nothing is computed before it is asked for."""

    def __init__(self, base: Path, sources: Sequence[Source], rules: FusionRules) -> None:
        """Read the factors. Raises UserError `adapter_…`, `fusion_…`, `model_…`."""
        self.base = BaseWeights(base)
        self.rules = rules
        self.adapters: list[AdapterFactors] = [read_factors(source.folder, source.name, self.base) for source in sources]
        check_rules(rules, len(self.adapters))
        check_layered(rules.layered, len(self.adapters), self.base.layers)
        self.modules = all_modules(self.adapters)
        self.threads = ThreadpoolController()  # one at a time: on small matrices they wait for one another far longer than they work

    def deltas(self, module: str) -> list[Delta]:
        """Return what each adapter adds to a module; nothing where it leaves it alone."""
        shape = self.base.shape(module)
        assert shape is not None  # the factors were checked against it
        return [adapter.delta(module, self.base) or zero(shape) for adapter in self.adapters]

    def weights(self, module: str) -> list[float]:
        """Return the adapters' weights at a module."""
        return weights_for(module, self.rules.weights, self.rules.layered, self.base.layers)

    def fused(self, module: str) -> Delta:
        """Return the fused change of one module. Raises UserError `fusion_weights_cancel`."""
        with self.threads.limit(limits=1):
            return fuse_deltas(module, self.deltas(module), self.weights(module), self.rules)

    def rank(self) -> int:
        """Return the rank of the result as an adapter: the one asked for, else the ranks together."""
        return self.rules.rank or sum(adapter.rank for adapter in self.adapters)

    def change(self, name: str, weight: mx.array) -> mx.array:
        """Return, in float32, a base's tensor with the fused change in it (a `models.fused_weights.Change`)."""
        module = name.removesuffix(".weight")
        if module not in self.modules:
            return weight
        return weight.astype(mx.float32) + mx.array(to_dense(self.fused(module)))

    def template(self) -> str | None:
        """Return the prompt format that the adapters learned when they learned the same one."""
        learned = {adapter.found.template for adapter in self.adapters}
        return learned.pop() if len(learned) == 1 else None


@dataclass(frozen=True)
class FusedFactors:
    """The fused change as factors, and the share of its ‖Δ‖² that they keep, of each module and of all."""

    factors: Mapping[str, LowRank]
    kept: Mapping[str, float]
    kept_in_all: float


def to_factors(fusion: Fusion, report: Progress = silent) -> FusedFactors:
    """Return the fusion as an adapter of its rank; one module's dense change at most is in memory. Raises UserError `fusion_…`."""
    factors: dict[str, LowRank] = {}
    kept: dict[str, float] = {}
    energy = lost = 0.0
    for number, module in enumerate(fusion.modules):
        delta = fusion.fused(module)
        with fusion.threads.limit(limits=1):
            size = inner(delta, delta)
            factors[module], kept[module] = refactor(delta, fusion.rank())
        energy, lost = energy + size, lost + size * (1 - kept[module])
        report((number + 1) / len(fusion.modules))
    return FusedFactors(factors, kept, 1 - lost / energy if energy else 1.0)


def naive_average(adapters: Sequence[AdapterFactors], weights: Sequence[float]) -> dict[str, LowRank] | None:
    """Return the mean of the factors, as simple tools have it, though Σ wA · Σ wB is not Σ w AB; None when ranks or modules differ."""
    first = adapters[0]
    total = sum(weights)
    if not all(a.found.kind == "lora" and _ranks(a) == _ranks(first) for a in adapters) or abs(total) < 1e-8:
        return None
    shares = np.asarray(weights, np.float32) / np.float32(total)
    mean_scale = float(np.dot(shares, [a.found.scale for a in adapters]))

    def mean(module: str, leaf: str) -> Array:
        return np.asarray(sum(share * a.modules[module][leaf] for share, a in zip(shares, adapters, strict=True)))

    return {module: LowRank(mean(module, "lora_a"), mean(module, "lora_b"), mean_scale) for module in first.modules}


def _ranks(adapter: AdapterFactors) -> dict[str, int]:
    return {module: arrays["lora_a"].shape[1] for module, arrays in adapter.modules.items()}
