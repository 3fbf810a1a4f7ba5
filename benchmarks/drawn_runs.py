"""A data folder with thousands of runs of real shape, drawn by chance and never trained: records, settings, labels, curves, adapters.

The curves are shared by runs of one shape, since nothing here reads what they tell. Knows the store's files, nothing of what measures them.
"""

from __future__ import annotations

import dataclasses
import random
import time
from pathlib import Path
from typing import Any

import orjson

from tunesmith.settings.files import to_yaml
from tunesmith.store.experiments import Experiment, ExperimentStore
from tunesmith.store.run_folder import RunFolder
from tunesmith.training.config import TrainConfig

STATUSES = ("completed",) * 15 + ("cancelled",) * 2 + ("failed",) * 2 + ("interrupted",)
MODELS = ("demo", "Qwen3-0.6B-4bit", "Llama-3.2-1B", "gemma-3-1b-it")
METHODS = ("sft",) * 6 + ("dpo", "grpo")
DATA = ("company_facts", "sums@1", "sums@2", "tickets@4", "japanese")
OWNERS = ("aki", "ben", "chie")
TAGS = ("baseline", "keep", "paper", "wrong data", "本番")
RATES, RANKS = (1e-4, 3e-4, 1e-3), (4, 8, 16, 32)
MODULES = ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", "self_attn.k_proj", "self_attn.o_proj", "self_attn.q_proj", "self_attn.v_proj"]
POINTS, SPACING_SECONDS = 64, 900.0


def draw_store(root: Path, count: int, seed: int = 0) -> ExperimentStore:
    """Write `count` ended runs, the newest now and one every 15 minutes before; return their store."""
    store, chance = ExperimentStore(root), random.Random(seed)
    curves = [_curve(chance) for _ in range(20)]
    settings = {(method, rate, rank): _settings(method, rate, rank) for method in set(METHODS) for rate in RATES for rank in RANKS}
    newest = time.time()
    for number in range(count):
        choice = (chance.choice(METHODS), chance.choice(RATES), chance.choice(RANKS))
        created_at = newest - SPACING_SECONDS * number
        losses = chance.choice(curves)
        experiment = _record(
            chance, f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(created_at))}-{number:06x}", created_at, choice, losses
        )
        _write(RunFolder(store.experiments / experiment.id), experiment, settings[choice], losses, chance)
    return store


def _settings(method: str, rate: float, rank: int) -> str:
    config = TrainConfig(model="demo", data="company_facts", learning_rate=rate).with_method(method)
    lora = dataclasses.replace(config.lora_parameters, rank=rank)
    return to_yaml(dataclasses.replace(config, learning_rate=rate, lora_parameters=lora))


def _curve(chance: random.Random) -> list[float]:
    level, floor = chance.uniform(2, 4), chance.uniform(0.05, 1.5)
    return [floor + (level - floor) * 0.93**step * chance.uniform(0.9, 1.1) for step in range(POINTS)]


def _record(chance: random.Random, run_id: str, created_at: float, choice: tuple[str, float, int], losses: list[float]) -> Experiment:
    method, rate, rank = choice
    status, data = chance.choice(STATUSES), chance.choice(DATA)
    seconds, sweep = chance.uniform(20, 4000), chance.random() < 0.3
    history = [{"status": name, "at": created_at} for name in ("queued", "starting", "running", status)]
    summary: dict[str, Any] = {
        "loss_first": losses[0], "loss_last": losses[-1] * chance.uniform(0.9, 1.1), "best_val_loss": losses[-1] * chance.uniform(1, 1.4),
        "reward_first": None, "reward_last": chance.random() if method == "grpo" else None, "steps": 10 * POINTS,
        "tokens_per_second": chance.uniform(300, 5000), "tokens_seen": chance.randint(10_000, 9_000_000), "duration_seconds": seconds,
        "sparkline": losses[:: POINTS // 40][:40],
    }  # fmt: skip
    group = f"sweep-{int(created_at) // 40_000 % 65536:04x}" if sweep else ""
    return Experiment(
        id=run_id, name=f"{data} rank {rank}, {rate:g}", kind="train", method=method, model=chance.choice(MODELS), data=data, group=group,
        model_path="demo/model", data_path="demo/data/company_facts", config_sha256=f"{chance.getrandbits(256):064x}",
        created_at=created_at, status=status, rev=4, attempt=1, owner=chance.choice(OWNERS),
        nonce=f"{chance.getrandbits(64):016x}", pid=4242, started_at=created_at, ended_at=created_at + seconds, history=history,
        summary=summary, error={"code": "worker_died", "facts": {}} if status == "interrupted" else None,
    )  # fmt: skip


def _write(folder: RunFolder, experiment: Experiment, settings: str, losses: list[float], chance: random.Random) -> None:
    folder.path.mkdir()
    folder.record.write_bytes(orjson.dumps(dataclasses.asdict(experiment), option=orjson.OPT_INDENT_2))
    folder.config.write_text(settings, encoding="utf-8")
    points = ({"v": 1, "attempt": 1, "step": 10 * n, "train_loss": loss, "elapsed_seconds": n * 0.5} for n, loss in enumerate(losses, 1))
    folder.metrics.write_bytes(b"".join(orjson.dumps(point) + b"\n" for point in points))
    folder.events.write_bytes(b"")
    folder.log.write_bytes(b"")
    if chance.random() < 0.3:
        words = {"tags": chance.sample(TAGS, chance.randint(0, 2)), "favourite": chance.random() < 0.2}
        notes = {"notes": f"Tried **{experiment.data}** with another seed."} if chance.random() < 0.3 else {}
        folder.labels.write_bytes(orjson.dumps(words | notes))
    if experiment.status == "completed":
        lora = {"rank": 8, "scale": 8.0, "dropout": 0.0, "keys": MODULES}
        config = {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": lora, "model": "model", "base_model_hash": "0" * 64}
        folder.adapter.mkdir()
        (folder.adapter / "adapter_config.json").write_bytes(orjson.dumps(config))
        (folder.adapter / "adapters.safetensors").write_bytes(b"\0" * 1024)
        (folder.adapter / "MANIFEST.json").write_bytes(b"{}")
