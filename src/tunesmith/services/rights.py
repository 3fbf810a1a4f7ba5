"""Who may do what: a mark on every service function that changes something, and a line in the audit log for each time it did.

Functions without a mark only look; everybody who came in may call them (tests/contract/test_rights.py lists them).
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Concatenate, ParamSpec, TypeVar

from tunesmith.errors import UserError
from tunesmith.services.context import Services
from tunesmith.store.files import AppendLog, LineTail
from tunesmith.store.locks import exclusively

AUDIT = "audit.jsonl"
_LONGEST_FACT = 200
_acting: ContextVar[bool] = ContextVar("acting", default=False)
P = ParamSpec("P")
R = TypeVar("R")
Act = Callable[Concatenate[Services, P], R]


def needs(role: str) -> Callable[[Act[P, R]], Act[P, R]]:
    """Mark a service function as one that a role may call. Then it raises UserError `role_needed` for others, and is noted."""

    def mark(act: Act[P, R]) -> Act[P, R]:
        told = inspect.signature(act)
        name = f"{act.__module__.rpartition('.')[2]}.{act.__name__}"

        @functools.wraps(act)
        def checked(s: Services, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if not s.person.may(role):
                raise UserError("role_needed", role=role)
            if _acting.get():
                return act(s, *args, **kwargs)  # a part of what is noted as a whole
            token = _acting.set(True)
            try:
                result = act(s, *args, **kwargs)
            finally:
                _acting.reset(token)
            _note(s, name, told.bind(s, *args, **kwargs).arguments)
            return result

        checked.needed_role = role  # type: ignore[attr-defined]
        return checked

    return mark


def _note(s: Services, action: str, given: Mapping[str, Any]) -> None:
    facts = {name: fact for name, value in given.items() if (fact := _as_fact(name, value).encode("utf-8", "ignore").decode())}
    line = {"at": time.time(), "person": s.person.name, "role": s.person.role, "action": action, "facts": facts}
    with exclusively(s.data_dir / "locks" / "audit.lock"):
        log = AppendLog(s.data_dir / AUDIT)
        try:
            log.append(line)
        finally:
            log.close()


def _as_fact(name: str, value: Any) -> str:
    """Return what an argument is called, nothing for one that only has content: contents and keys are not noted."""
    if isinstance(value, str | int):
        return str(value)[:_LONGEST_FACT] if name.endswith("_id") or name == "name" else ""
    return str(getattr(value, "id", "") or getattr(value, "name", ""))[:_LONGEST_FACT]


def audit(s: Services, most: int = 200) -> list[dict[str, Any]]:
    """Return the last things that were done, newest first: when, who, in which role, what, with which plain facts."""
    return list(LineTail(s.data_dir / AUDIT).read_new())[: -most - 1 : -1]
