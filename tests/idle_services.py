"""The services of an empty store in charge, with nothing that launches runs behind a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tunesmith.services import context
from tunesmith.services.context import Services


@contextmanager
def idle_services() -> Iterator[Services]:
    """Yield the services of the data folder that the environment names."""
    opened = context.build_services()
    opened.supervisor._closed = True  # no thread: nothing is launched
    opened.supervisor.wake()
    try:
        yield opened
    finally:
        opened.close()
