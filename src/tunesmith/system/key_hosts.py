"""To which hosts each key may be sent: a person's endpoint names its key, and must not have it sent anywhere else. Asks no network.

The hosts of a key lie beside the keys in `keys.json`, whatever place holds the key itself, the environment too.
"""

from __future__ import annotations

from tunesmith.errors import UserError
from tunesmith.system.addresses import Address, AllowedHost, read_address, read_allowed_host
from tunesmith.system.hub import DEFAULT_ENDPOINT, hub_endpoint
from tunesmith.system.secrets import HUB, check_key_name, read_key_file


def read_key_host(text: str) -> str:
    """Return an entry in its one form: `host`, `host:port`, or `.name` for every host whose name ends so.

    Raises UserError `key_host_wrong`.
    """
    text = text.strip()
    try:
        entry = read_allowed_host(text.removeprefix("."))
    except UserError as error:
        raise UserError("key_host_wrong", entry=text[:100]) from error
    is_suffix = text.startswith(".")
    if entry.number or (is_suffix and (entry.port or "." not in entry.host)):  # .com would be half of the world
        raise UserError("key_host_wrong", entry=text[:100])
    return f".{entry.host}" if is_suffix else _written(entry)


def _written(entry: AllowedHost) -> str:
    host = f"[{entry.host}]" if ":" in entry.host else entry.host
    return f"{host}:{entry.port}" if entry.port else host


def chosen_hosts(name: str) -> tuple[str, ...]:
    """Return the hosts that were chosen for a key. Raises UserError `secrets_readable_by_others`, `store_file_unreadable`."""
    return read_key_file().hosts.get(name, ())


def require_key_host(name: str, address: str) -> None:
    """Refuse to send a key to an address that is not for it; the hub's token may always go to the hub.

    Raises UserError `key_not_for_host`, `key_without_host`, `endpoint_address_wrong`, and as `chosen_hosts` does.
    """
    check_key_name(name)
    place, hosts = read_address(address), [*chosen_hosts(name), *(_hub_hosts() if name == HUB else ())]
    if not hosts:
        raise UserError("key_without_host", name=name, host=place.host)
    if not any(_covers(entry, place) for entry in hosts):
        raise UserError("key_not_for_host", name=name, host=place.place, hosts=", ".join(hosts))


def _covers(entry: str, place: Address) -> bool:
    if entry.startswith("."):
        return place.host.endswith(entry)
    try:
        allowed = read_allowed_host(entry)
    except UserError:  # written into the file by hand
        return False
    return allowed.host == place.host and allowed.port in {0, place.port}


def _hub_hosts() -> list[str]:
    own = [read_address(address).host for address in (DEFAULT_ENDPOINT, hub_endpoint())]
    return list(dict.fromkeys([*own, f".{own[0]}"]))
