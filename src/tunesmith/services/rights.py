"""Who may do what: a mark on every service function that changes something, and a line in the audit log for each time it did.

Functions without a mark only look; everybody who came in may call them (tests/contract/test_rights.py lists them). Trainers use what
others brought and made, but only its owner or an admin renames, rewrites or deletes it; what has no owner is everybody's.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Concatenate, ParamSpec, TypeVar

from tunesmith.access.people import ADMIN, Person
from tunesmith.errors import UserError
from tunesmith.services.context import Services
from tunesmith.store.audit import AuditLog

logger = logging.getLogger(__name__)
_LONGEST_FACT = 200
_acting: ContextVar[bool] = ContextVar("acting", default=False)
P = ParamSpec("P")
R = TypeVar("R")
Act = Callable[Concatenate[Services, P], R]


def needs(role: str, noted: bool = True) -> Callable[[Act[P, R]], Act[P, R]]:
    """Mark a service function as one that a role may call: it raises UserError `role_needed` for others.

    It is noted in the audit log, unless it only looks (`noted` is False).
    """

    def mark(act: Act[P, R]) -> Act[P, R]:
        told = inspect.signature(act)
        name = f"{act.__module__.rpartition('.')[2]}.{act.__name__}"

        @functools.wraps(act)
        def checked(s: Services, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if not s.person.may(role):
                raise UserError("role_needed", role=role)
            if _acting.get() or not noted:
                return act(s, *args, **kwargs)  # a part of what is noted as a whole
            token = _acting.set(True)
            try:
                result = act(s, *args, **kwargs)
            finally:
                _acting.reset(token)
            try:
                _note(s, name, told.bind(s, *args, **kwargs).arguments)
            except (UserError, OSError) as error:  # it is done: who is told that it failed would do it twice
                logger.warning("not noted: %s by %s: %s", name, s.person.name, error)
            return result

        checked.needed_role = role  # type: ignore[attr-defined]
        return checked

    return mark


def _note(s: Services, action: str, given: Mapping[str, Any]) -> None:
    facts = {name: fact for name, value in given.items() if (fact := _as_fact(name, value).encode("utf-8", "ignore").decode())}
    AuditLog(s.data_dir).note(s.person.name, s.person.role, action, facts)


def _as_fact(name: str, value: Any) -> str:
    """Return what an argument is called, nothing for one that only has content: contents and keys are not noted."""
    if isinstance(value, str | int):
        return str(value)[:_LONGEST_FACT] if name.endswith("_id") or name in {"name", "role"} else ""
    if isinstance(value, list | tuple) and name.endswith("_ids"):
        return ", ".join(map(str, value))[:_LONGEST_FACT]
    return str(getattr(value, "id", "") or getattr(value, "name", ""))[:_LONGEST_FACT]


def note_visit(s: Services, person: Person | None, action: str, facts: Mapping[str, str]) -> None:
    """Note what happened at the door; of whoever was not let in there is no person."""
    plain = {name: fact.encode("utf-8", "ignore").decode()[:_LONGEST_FACT] for name, fact in facts.items()}
    AuditLog(s.data_dir).note(person.name if person else "", person.role if person else "", action, plain)


def may_change(s: Services, owner: str) -> bool:
    """Whether this person may rename, rewrite or delete what somebody owns; what nobody owns is everybody's."""
    return not owner or owner == s.person.name or s.person.may(ADMIN)


def require_own(s: Services, owner: str) -> None:
    """Refuse to rename, rewrite or delete what somebody else owns. Raises UserError `owned_by_another`."""
    if not may_change(s, owner):
        raise UserError("owned_by_another", owner=owner)


@needs(ADMIN, noted=False)
def audit(s: Services, most: int = 200) -> list[dict[str, Any]]:
    """Return the last things that were done, newest first: when, who, in which role, what, with which plain facts."""
    return AuditLog(s.data_dir).last(most)


@needs(ADMIN)
def audit_file(s: Services) -> bytes:
    """Return all of the audit log that is kept, as lines of JSON, oldest first."""
    return AuditLog(s.data_dir).content()
