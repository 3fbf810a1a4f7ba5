"""Endpoints for other programs: serve a model or an adapter on its base, list, stop."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from tunesmith.access.opening import names_at_start
from tunesmith.access.people import ADMIN, TRAINER
from tunesmith.errors import UserError
from tunesmith.jobs.serving import ModelServer, ServingStore, curl_line
from tunesmith.services.context import Services
from tunesmith.services.exports import Source
from tunesmith.services.rights import needs, require_own
from tunesmith.system.network import EVERYWHERE, LOOPBACK
from tunesmith.system.paths import as_file_name

SHORTEST_KEY = 16
KEY_SHOWN_AS = "TUNESMITH_KEY"


@dataclass(frozen=True)
class Started:
    """A server that was started, and the key that was made for it: it is kept nowhere, so it is shown once."""

    server: ModelServer
    key: str


def list_servers(s: Services) -> list[ModelServer]:
    """Return the servers, newest first."""
    return ServingStore(s.data_dir).all()


@needs(TRAINER)
def start(s: Services, source: Source, name: str, on_lan: bool = False, port: int = 0, key: str = "") -> Started:
    """Start an OpenAI-compatible server of a model or an adapter; on the LAN, which only an admin opens, it gets a key if none is given.

    Port 0 takes a free one. Raises UserError `role_needed`, `name_empty`, `serving_key_short`, `disk_full`.
    """
    if on_lan and not s.person.may(ADMIN):
        raise UserError("role_needed", role=ADMIN)
    if not name.strip():
        raise UserError("name_empty")
    if on_lan and not key:
        key = secrets.token_urlsafe(32)
    if key and len(key) < SHORTEST_KEY:
        raise UserError("serving_key_short", least=SHORTEST_KEY)
    adapter = source.adapter.path if source.adapter else None
    host = EVERYWHERE if on_lan else LOOPBACK
    names = [*s.settings.lan_names, *names_at_start()]
    server = ServingStore(s.data_dir).start(
        source.model.path, adapter, as_file_name(name, "model"), host, port, key, s.person.name, names
    )  # fmt: skip
    return Started(server, key)


def find(s: Services, server_id: str) -> ModelServer:
    """Return one server. Raises UserError `job_unknown`."""
    return ServingStore(s.data_dir).get(server_id)


@needs(TRAINER)
def stop(s: Services, server_id: str) -> None:
    """Stop a server. Raises UserError `job_unknown`, `job_running`."""
    ServingStore(s.data_dir).stop(server_id)


@needs(TRAINER)
def forget(s: Services, server_id: str) -> None:
    """Forget an ended server. Raises UserError `job_unknown`, `job_running`, `owned_by_another`."""
    require_own(s, find(s, server_id).owner)
    ServingStore(s.data_dir).delete(server_id)


def how_to_ask(server: ModelServer) -> str:
    """Return a command line that asks a server."""
    return curl_line(server.address, server.name, KEY_SHOWN_AS if server.keyed else "")
