"""Method names to what they learn from and how: one line each. Knows no mlx, so that pages may read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tunesmith.data.formats import KINDS


@dataclass(frozen=True)
class Method:
    """A method is the kinds of rows that it can use, and a loss in a module that the worker imports."""

    name: str
    row_kinds: tuple[str, ...]
    loss_path: str

    def loss(self) -> Callable[..., Any]:
        """Return loss(model, batch, forward), the sum over the supervised tokens; imports mlx."""
        module, name = self.loss_path.split(":")
        loss: Callable[..., Any] = getattr(import_module(module), name)
        return loss


METHODS = {
    "sft": Method(
        "sft", tuple(name for name, kind in KINDS.items() if "sft" in kind.methods), "tunesmith.training.methods.sft:summed_loss"
    ),
}
