"""Adapters with drawn factors, for tests: in the store, without a run and without mlx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
from safetensors.numpy import save_file

from tunesmith.store.adapters import AdapterRecord, AdapterStore
from tunesmith.system.paths import DEMO_MODEL

SHAPES = {"self_attn.q_proj": (256, 256), "self_attn.v_proj": (256, 64), "mlp.down_proj": (512, 256)}  # the demo model's, (in, out)


def write_adapter_files(
    folder: Path, seed: int = 0, rank: int = 4, layers: tuple[int, ...] = (0, 1, 2, 3), size: float = 0.02, **config: Any
) -> Path:
    """Write an adapter of the demo model in mlx-lm's format and return its folder."""
    chance = np.random.default_rng(seed)
    tensors = {}
    for layer in layers:
        for name, (inputs, outputs) in SHAPES.items():
            module = f"model.layers.{layer}.{name}"
            tensors[f"{module}.lora_a"] = chance.normal(0, 1 / np.sqrt(inputs), (inputs, rank)).astype(np.float32)
            tensors[f"{module}.lora_b"] = chance.normal(0, size, (rank, outputs)).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapters.safetensors")
    parameters = {"rank": rank, "scale": 4.0, "dropout": 0.0, "keys": list(SHAPES)}
    plain = {"fine_tune_type": "lora", "num_layers": 4, "lora_parameters": parameters, "model": "demo", **config}
    (folder / "adapter_config.json").write_bytes(orjson.dumps(plain))
    return folder


def add_adapter(data_dir: Path, name: str, seed: int = 0, **more: Any) -> AdapterRecord:
    """Put an adapter with drawn factors into the store."""
    store = AdapterStore(data_dir)
    with store.staging() as folder:
        write_adapter_files(folder / "adapter", seed, **more)
        return store.add(folder, name, "imported", "demo", DEMO_MODEL, {})
