"""Method names to what they learn from and how: one line each. Knows no mlx, so that pages may read it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from tunesmith.data.formats import KINDS, POLICY, PREFERENCE, SFT

Family = Literal["sft", "preference", "policy"]
_FAMILIES: tuple[tuple[Family, tuple[str, ...]], ...] = (("sft", SFT), ("preference", PREFERENCE), ("policy", POLICY))
_TASKS: dict[Family, str] = {"sft": "sft:SupervisedTask", "preference": "preference:PreferenceTask", "policy": "policy:PolicyTask"}


@dataclass(frozen=True)
class Method:
    """A method is a name in a family; a family is one kind of task, in a module that the worker imports."""

    name: str
    family: Family

    @property
    def row_kinds(self) -> tuple[str, ...]:
        """The kinds of rows that it can use."""
        return tuple(name for name, kind in KINDS.items() if self.name in kind.methods)

    @property
    def task(self) -> Any:
        """The family's task; imports mlx."""
        module, name = _TASKS[self.family].split(":")
        return getattr(import_module(f"tunesmith.training.methods.{module}"), name)


METHODS = {name: Method(name, family) for family, names in _FAMILIES for name in names}


def family_of(method: str) -> Family:
    """Return a method's family; a method of a newer store than ours counts as supervised fine-tuning."""
    return METHODS[method].family if method in METHODS else "sft"
