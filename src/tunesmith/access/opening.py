"""Whether this server was started for the network, and by which names it is called there: `tunesmith serve --lan`, `make run LAN=1`."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tunesmith.access.codes import AccessFile
from tunesmith.access.gate import Door, Note
from tunesmith.access.provider import ProviderFile
from tunesmith.system.hosts import own_names

VARIABLE, NAMES_VARIABLE = "TUNESMITH_LAN", "TUNESMITH_LAN_NAMES"


def is_lan() -> bool:
    """Whether this process was started for the network."""
    return os.environ.get(VARIABLE) == "1"


def names_at_start() -> list[str]:
    """Return the names that the server was started with, the one to tell others first: a container does not know by which it is called."""
    return [name.strip() for name in os.environ.get(NAMES_VARIABLE, "").split(",") if name.strip()]


def open_door(names: Iterable[str], port: int, note: Note) -> Door:
    """Return this server's door; `names` are further names by which it is called, `note` is told who came and went.

    Raises UserError `secrets_readable_by_others`, `store_file_unreadable`.
    """
    if not is_lan():
        return Door(AccessFile(), None, port, note)
    provider = ProviderFile().open()
    registered = [provider.place] if provider else []
    door = Door(AccessFile(), own_names([*names, *names_at_start(), *registered]), port, note)
    door.codes()
    return door
