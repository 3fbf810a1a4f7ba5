"""A real server that is open to the network, as `tunesmith serve --lan` starts it, though the tests stay on this computer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Server
from tunesmith.access.codes import AccessFile


@contextmanager
def shared_server(folder: Path) -> Iterator[tuple[Server, AccessFile]]:
    """Yield the server and the file with its codes; both lie in the folder."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TUNESMITH_LAN", "1")
        environment.setenv("TUNESMITH_SECRETS_DIR", str(folder / "secrets"))
        server = Server(folder / "data", folder / "server.log")
        server.start()
    try:
        yield server, AccessFile(folder / "secrets")
    finally:
        server.stop()
