"""The services of an empty store in charge, with nothing that launches runs behind a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tunesmith.services import context
from tunesmith.services.context import Services


def stop_supervising(services: Services) -> None:
    """End the thread that launches runs, whatever it is just doing; the services stay in charge."""
    supervisor = services.supervisor
    supervisor._closed = True
    supervisor.wake()
    assert supervisor._thread
    supervisor._thread.join()


@contextmanager
def idle_services() -> Iterator[Services]:
    """Yield the services of the data folder that the environment names."""
    opened = context.build_services()
    stop_supervising(opened)
    try:
        yield opened
    finally:
        opened.close()
