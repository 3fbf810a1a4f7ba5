"""The system's key ring, by the package `keyring` (an extra): used where it is installed and has a place that guards what it keeps."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

from tunesmith.errors import UserError

SERVICE = "tunesmith"
_GUARDED = 1  # the priority from which keyring's authors recommend a place; plain files and places that keep nothing are below


def works() -> bool:
    """Return whether there is a key ring that keeps keys from others."""
    return _open_ring() is not None


def read(name: str) -> str:
    """Return what the key ring holds under a name; nothing while it is locked."""
    ring = _open_ring()
    try:
        return str(ring.get_password(SERVICE, name) or "").strip() if ring else ""
    except _refusals():
        return ""


def write(name: str, value: str) -> None:
    """Keep a value. Raises UserError `key_ring_refused`."""
    _change(lambda ring: ring.set_password(SERVICE, name, value))


def delete(name: str) -> None:
    """Forget what is kept under a name. Raises UserError `key_ring_refused`."""
    _change(lambda ring: ring.delete_password(SERVICE, name))


def _change(change: Callable[[Any], object]) -> None:
    try:
        change(_open_ring())
    except _refusals() as error:
        raise UserError("key_ring_refused", reason=type(error).__name__) from None  # its own words may hold the value


def _open_ring() -> Any:
    """Return the system's key ring, None without one that guards."""
    if not importlib.util.find_spec("keyring"):
        return None
    ring = importlib.import_module("keyring").get_keyring()
    return ring if ring.priority >= _GUARDED else None


def _refusals() -> tuple[type[Exception], ...]:
    if not importlib.util.find_spec("keyring"):
        return (OSError,)
    found: type[Exception] = importlib.import_module("keyring.errors").KeyringError  # locked, or refused by a person
    return (found, OSError)
