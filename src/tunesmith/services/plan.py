"""The plan of a run before it starts: memory by estimate or by measurement, whether it fits, and what would help."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tunesmith.access.people import TRAINER
from tunesmith.data.batching import PAD_TO
from tunesmith.data.formats import POLICY
from tunesmith.errors import UserError
from tunesmith.jobs.measure import Measurement, measure
from tunesmith.models.discovery import ModelInfo
from tunesmith.models.memory_estimate import MemoryEstimate, MemoryInputs, estimate_memory
from tunesmith.services.attachments import attachments
from tunesmith.services.context import Services
from tunesmith.services.datasets import find_dataset
from tunesmith.services.models import find_model
from tunesmith.services.rights import needs
from tunesmith.settings.files import to_yaml
from tunesmith.store.files import read_json
from tunesmith.system.device import device_name
from tunesmith.system.memory import read_memory
from tunesmith.training.config import TrainConfig

Verdict = Literal["fits", "tight", "swaps"]
TIGHT_SHARE = 0.8
GB = 1_000_000_000
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Fix:
    """A change of settings that needs less memory: its name, the changed settings, and the peak that they would have."""

    name: str
    changes: Mapping[str, Any]
    peak_bytes: int


@dataclass(frozen=True)
class MemoryPlan:
    """The run's peak beside what there is."""

    estimate: MemoryEstimate
    peak_bytes: int
    budget_bytes: int
    measured: bool
    fixes: list[Fix]

    @property
    def verdict(self) -> Verdict:
        """Whether the run fits, is tight, or will swap."""
        if self.peak_bytes <= TIGHT_SHARE * self.budget_bytes:
            return "fits"
        return "tight" if self.peak_bytes <= self.budget_bytes else "swaps"


def memory_budget_bytes(s: Services) -> int:
    """Return how much a run may use: the settings' budget, else what is free now."""
    if s.settings.memory_budget_gb:
        return int(s.settings.memory_budget_gb * GB)
    return read_memory().available_bytes


def plan_memory(
    s: Services, config: TrainConfig, model: ModelInfo, shape: Shape, longest_tokens: int, measured: Measurement | None = None
) -> MemoryPlan:
    """Return the plan of a run whose largest pass is `shape` (lines, width, supervised tokens).

    A measurement calibrates the estimate: its peak over the estimate for the passes that it ran.
    """
    described = read_json(model.path / "config.json")
    estimate = estimate_memory(_inputs(config, described, shape))
    factor = measured.peak_bytes / estimate_memory(_inputs(config, described, measured.shape)).peak_bytes if measured else 1.0
    peak = int(estimate.peak_bytes * factor)
    budget = memory_budget_bytes(s)
    plan = MemoryPlan(estimate, peak, budget, measured is not None, [])
    if plan.verdict == "fits":
        return plan
    return dataclasses.replace(plan, fixes=_find_fixes(config, described, shape, longest_tokens, peak, factor))


def _inputs(config: TrainConfig, described: Mapping[str, Any], shape: Shape) -> MemoryInputs:
    on_cpu = device_name() == "cpu"
    return MemoryInputs(
        model=described, lines=shape[0], width=shape[1], labels=shape[2], fine_tune_type=config.fine_tune_type,
        rank=config.lora_parameters.rank, modules=config.lora_parameters.keys, num_layers=config.num_layers, optimizer=config.optimizer,
        quantize=config.quantize, grad_checkpoint=config.grad_checkpoint, accumulate=True,
        compute_bytes=4 if on_cpu else 2, fused_attention=not on_cpu,
        keeps_base=config.method in (*POLICY, "dpo"), **_writing(config, shape),
    )  # fmt: skip


def _writing(config: TrainConfig, shape: Shape) -> dict[str, int]:
    """Return how many answers a policy writes at once, and how long a row with its answer may be: as wide as the largest pass."""
    if config.method not in POLICY:
        return {}
    answers = config.batch_size * config.policy.num_generations
    return {"writing_rows": min(answers, config.policy.rollout_rows), "writing_tokens": shape[1]}


def _find_fixes(
    config: TrainConfig, described: Mapping[str, Any], shape: Shape, longest_tokens: int, peak: int, factor: float
) -> list[Fix]:
    lines, width, labels = shape
    tries: list[tuple[str, dict[str, Any], Shape]] = []
    if config.method in POLICY and config.policy.rollout_rows > 1:
        answers = min(config.policy.rollout_rows, config.batch_size * config.policy.num_generations)
        fewer = dataclasses.replace(config.policy, rollout_rows=max(1, answers // 2))
        tries.append(("fewer_answers", {"policy": fewer}, shape))
    if (smaller := _halve_pass(shape, longest_tokens)) != shape:
        tries.append(("smaller_passes", {"pass_tokens": smaller[0] * smaller[1]}, smaller))
    if not config.grad_checkpoint:
        tries.append(("checkpointing", {"grad_checkpoint": True}, shape))
    if config.max_seq_length > 64 and width > config.max_seq_length // 2:
        shorter = config.max_seq_length // 2
        tries.append(("shorter_rows", {"max_seq_length": shorter}, (lines, min(width, shorter), min(labels, lines * shorter))))
    if config.quantize == "none" and config.fine_tune_type != "full" and not described.get("quantization"):
        tries.append(("quantise", {"quantize": "4-bit"}, shape))
    fixes = [
        Fix(name, changes, int(factor * estimate_memory(_inputs(dataclasses.replace(config, **changes), described, new)).peak_bytes))
        for name, changes, new in tries
    ]
    return sorted((fix for fix in fixes if fix.peak_bytes < peak), key=lambda fix: fix.peak_bytes)


def _halve_pass(shape: Shape, longest_tokens: int) -> Shape:
    """Return a pass of half the lines, or of half the width when one line is left and no row is that long."""
    lines, width, labels = shape
    if lines > 1:
        return math.ceil(lines / 2), width, math.ceil(labels * math.ceil(lines / 2) / lines)
    narrow = min(width, max(math.ceil(width / 2 / PAD_TO), math.ceil(longest_tokens / PAD_TO)) * PAD_TO)
    return 1, narrow, math.ceil(labels * narrow / width)


@needs(TRAINER)
def measure_run(s: Services, config: TrainConfig) -> Measurement:
    """Do three real steps in a worker of their own; the results are thrown away, the peak and the pace kept.

    Raises UserError `accelerator_busy`, `measure_failed`, `model_…`, `data_…`.
    """
    s.require_writable()
    model, data = find_model(s, config.model), find_dataset(s, config.data)
    try:
        return measure(to_yaml(config), model.path, data.path, s.store.locks / "accelerator.lock", attachments(s, config))
    except TimeoutError as error:
        raise UserError("measure_failed", reason="timeout") from error
