"""A key ring for tests, behind `keyring`'s own interface: it keeps keys in memory, and can be locked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keyring
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError


class MemoryRing(KeyringBackend):
    """Keys by service and account; a locked one refuses everything, and says in its words what it was given."""

    priority = 5  # type: ignore[assignment]  # as the system's own have

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[tuple[str, str], str] = {}
        self.locked = False

    def _require_open(self, *told: str) -> None:
        if self.locked:
            raise KeyringLocked(f"locked: {told}")

    def get_password(self, service: str, username: str) -> str | None:
        self._require_open(service, username)
        return self.keys.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._require_open(service, username, password)
        self.keys[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._require_open(service, username)
        if self.keys.pop((service, username), None) is None:
            raise PasswordDeleteError("none")


@contextmanager
def use_ring(ring: KeyringBackend) -> Iterator[KeyringBackend]:
    """Make a key ring the system's own until the block is left."""
    before = keyring.get_keyring()
    keyring.set_keyring(ring)
    try:
        yield ring
    finally:
        keyring.set_keyring(before)
