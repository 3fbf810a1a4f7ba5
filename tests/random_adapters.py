"""Makes adapters of any base with seeded random numbers, large enough to change every answer. Knows no tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from tunesmith.models.adapter_modules import AdapterModules, layer_of, save_modules
from tunesmith.models.weights import BaseWeights


def make_adapter(
    folder: Path, base: Path, kind: str = "lora", rank: int = 4, scale: float = 2.5, layers: Iterable[int] = (),
    last_names: Iterable[str] = (), seed: int = 0,
) -> Path:  # fmt: skip
    """Write an adapter folder in mlx-lm's format and return it; without `layers` and `last_names`, of all linear layers."""
    weights, chance = BaseWeights(base), np.random.default_rng(seed)
    chosen, wanted = set(layers), set(last_names)
    modules: dict[str, dict[str, Any]] = {}
    for name in weights.names:
        if (chosen and layer_of(name) not in chosen) or (wanted and name.rpartition(".")[2] not in wanted):
            continue
        out, columns = weights.shape(name) or (0, 0)
        arrays = {
            "lora_a": chance.standard_normal((columns, rank)).astype(np.float32) / np.sqrt(columns, dtype=np.float32),
            "lora_b": 0.2 * chance.standard_normal((rank, out)).astype(np.float32),
        }
        if kind == "dora":
            lengths = np.linalg.norm(weights.read(name), axis=1)
            arrays["m"] = (lengths * (1 + 0.1 * chance.standard_normal(out))).astype(np.float32)
        modules[name] = arrays
    save_modules(folder, AdapterModules(kind, scale, modules), weights)
    mx.clear_cache()
    return folder
