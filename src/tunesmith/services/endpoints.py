"""An endpoint that a person named: whether it may be asked, and with which key. Knows no questions."""

from __future__ import annotations

from tunesmith.access.people import ADMIN, TRAINER
from tunesmith.services.context import Services
from tunesmith.services.keys import change_keys
from tunesmith.services.rights import needs
from tunesmith.store.audit import AuditLog
from tunesmith.system.endpoint import Endpoint, check_endpoint, key_environment
from tunesmith.system.key_hosts import chosen_hosts
from tunesmith.system.secrets import HUB


@needs(TRAINER, noted=False)
def open_endpoint(s: Services, endpoint: Endpoint | None) -> dict[str, str]:
    """Return what the process that asks an endpoint needs beside a worker's environment: its one key, nothing without an endpoint.

    A key without hosts is from now on for the host at which an admin uses it first. Raises UserError `endpoint_…`, `key_…`.
    """
    if endpoint is None:
        return {}
    check_endpoint(endpoint, s.settings.endpoint_hosts)
    name = endpoint.key_variable
    if name and name != HUB and s.person.may(ADMIN) and not chosen_hosts(name):
        with change_keys() as kept:
            kept.hosts.setdefault(name, (endpoint.host,))
        AuditLog(s.data_dir).note(s.person.name, s.person.role, "keys.first_host", {"name": name, "host": endpoint.host})
    return key_environment(endpoint)
