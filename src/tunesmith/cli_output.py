"""What every command of the command line does alike: open the services, report as text or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
import typer

from tunesmith.services import context
from tunesmith.services.context import Services

Json = Annotated[bool, typer.Option("--json", help="Report as JSON.")]


@contextmanager
def open_services() -> Iterator[Services]:
    """Yield the services of this command and give them back at its end."""
    services = context.build_services()
    try:
        yield services
    finally:
        services.close()


def report(record: Any, as_json: bool, text: str) -> None:
    """Print the record as JSON, or the text."""
    typer.echo(orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY).decode() if as_json else text)
