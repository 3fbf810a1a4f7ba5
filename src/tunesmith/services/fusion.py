"""Adapters that could be fused. Fusing itself is not there yet; the page says so."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.services.compare import AdapterChoice, variants
from tunesmith.services.context import Services
from tunesmith.store.files import read_json


@dataclass(frozen=True)
class AdapterRow:
    """One adapter of the list."""

    run_id: str
    name: str
    model: str
    rank: int
    keys: list[str]
    size_bytes: int
    created_at: float


def adapters(s: Services) -> list[AdapterRow]:
    """Return the adapters that runs have left, newest first."""
    return [_row(s, choice) for choice in variants(s)]


def _row(s: Services, choice: AdapterChoice) -> AdapterRow:
    lora = read_json(choice.adapter_path / "adapter_config.json").get("lora_parameters", {})
    weights = choice.adapter_path / "adapters.safetensors"
    return AdapterRow(
        run_id=choice.run_id, name=choice.name, model=choice.model, rank=int(lora.get("rank", 0)),
        keys=list(lora.get("keys") or []), size_bytes=weights.stat().st_size, created_at=s.store.get(choice.run_id).created_at,
    )  # fmt: skip
