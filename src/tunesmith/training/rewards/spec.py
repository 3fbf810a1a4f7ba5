"""How the settings name a reward function, and what a function is given to judge. Knows no function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class RewardSpec:
    """One reward function of a run: a built-in name, or `file.py:function` of the rewards folder; its weight and its settings."""

    function: str
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_custom(self) -> bool:
        """Whether the function stands in a Python file of the rewards folder."""
        return ":" in self.function

    @property
    def file(self) -> str:
        """The Python file's name, empty for a built-in function."""
        return self.function.rpartition(":")[0]

    @property
    def name(self) -> str:
        """The function's own name."""
        return self.function.rpartition(":")[2]


@dataclass(frozen=True)
class Completion:
    """An answer: its text without the stop token, its length in tokens, and whether it was cut at the longest length allowed."""

    text: str
    tokens: int = 0
    truncated: bool = False


class Reward(Protocol):
    """A built-in reward function; its fields are its settings."""

    def score(self, completion: Completion, row: Mapping[str, Any]) -> float | None:
        """Return what a completion is worth for its row, None when the function has nothing to say about the row."""
