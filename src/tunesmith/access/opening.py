"""Whether this server is open to the network, as it was started: `tunesmith serve --lan`, which `make run LAN=1` calls."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tunesmith.access.codes import AccessFile
from tunesmith.access.gate import Door
from tunesmith.access.hosts import own_names

VARIABLE = "TUNESMITH_LAN"


def is_lan() -> bool:
    """Whether this process was started for the network."""
    return os.environ.get(VARIABLE) == "1"


def open_door(names: Iterable[str], port: int) -> Door:
    """Return this server's door; `names` are further names by which it is called. Raises UserError `secrets_readable_by_others`."""
    door = Door(AccessFile(), own_names(names) if is_lan() else None, port)
    if door.open_to_network:
        door.codes()
    return door
