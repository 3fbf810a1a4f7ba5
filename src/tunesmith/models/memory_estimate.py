"""Placeholder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MemoryInputs:
    """Placeholder."""

    model: Mapping[str, Any]
    lines: int
    width: int
    labels: int
    fine_tune_type: str = "lora"
    rank: int = 8
    modules: str = "all"
    num_layers: int = -1
    optimizer: str = "adam"
    quantize: str = "none"
    grad_checkpoint: bool = False
    accumulate: bool = False
    compute_bytes: int = 4
    fused_attention: bool = False


@dataclass(frozen=True)
class MemoryEstimate:
    """Placeholder."""

    weights_bytes: int
    adapter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    logits_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Sum."""
        return self.weights_bytes + self.activations_bytes


def estimate_memory(inputs: MemoryInputs) -> MemoryEstimate:
    """Placeholder."""
    tokens = inputs.lines * inputs.width
    part = 4000 if inputs.grad_checkpoint else 40000
    return MemoryEstimate(10_000_000, 0, 0, 0, tokens * part, 0)


def count_model_parameters(model: Mapping[str, Any]) -> int:
    """Placeholder."""
    return 1
