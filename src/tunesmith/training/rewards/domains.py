"""Presets for a field and a reader: a system prompt, and a rubric reward that checks what it asks for. Knows no page."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tunesmith.training.rewards.spec import RewardSpec

RUBRIC_WEIGHT = 0.3


@dataclass(frozen=True)
class Persona:
    """What a domain and a level of expertise ask for."""

    system: str
    rubric: RewardSpec


@cache
def presets(kind: str) -> dict[str, tuple[str, list[str]]]:
    """Return (system prompt, criteria) by name, of `domain` or `expertise`."""
    with (Path(__file__).with_name("domains.toml")).open("rb") as file:
        return {name: (preset["system"], preset["criteria"]) for name, preset in tomllib.load(file)[kind].items()}


def persona(domain: str = "", expertise: str = "") -> Persona:
    """Return the preset of a domain, of a level of expertise, or of both together; empty names add nothing."""
    chosen = [presets(kind)[name] for kind, name in (("domain", domain), ("expertise", expertise)) if name]
    criteria = [line for _, lines in chosen for line in lines]
    return Persona(" ".join(system for system, _ in chosen), RewardSpec("rubric", RUBRIC_WEIGHT, {"criteria": criteria}))
