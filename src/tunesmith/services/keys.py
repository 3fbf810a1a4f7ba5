"""Keys of people: which there are, set and removed. An admin sees where each is from and how it ends; nobody sees more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from tunesmith.access.people import ADMIN
from tunesmith.errors import UserError
from tunesmith.jobs.generation import SHELF as GENERATIONS
from tunesmith.jobs.job import REQUEST, JobFolders
from tunesmith.services.context import Services
from tunesmith.services.jobs import EVALUATIONS
from tunesmith.services.rights import needs
from tunesmith.store.files import read_json, write_json
from tunesmith.store.locks import exclusively
from tunesmith.system import key_ring
from tunesmith.system.endpoint import Endpoint
from tunesmith.system.key_hosts import chosen_hosts, read_key_host
from tunesmith.system.secret_files import secrets_folder
from tunesmith.system.secrets import (
    ENVIRONMENT,
    FILE,
    HUB,
    HUB_LOGIN,
    KEY_RING,
    KeyFile,
    check_key,
    check_key_name,
    key_file,
    key_state,
    read_key_file,
)

_LOOKED_AT = 100  # the newest requests of each kind: older endpoints are hardly in use


@dataclass(frozen=True)
class KnownKey:
    """A key by the name of its variable, the hosts of endpoints that asked for it, and those that it may be sent to.

    `places` hold it, the used one first; they and `last_four` are empty for whoever is no admin. The hub's token may go to the hub too.
    """

    name: str
    asked_by: tuple[str, ...]
    hosts: tuple[str, ...]
    is_set: bool
    places: tuple[str, ...]
    last_four: str

    @property
    def removable(self) -> bool:
        """Whether it can be removed here: what the environment or the hub's own client holds cannot."""
        return bool({KEY_RING, FILE} & {*self.places})


def list_keys(s: Services) -> list[KnownKey]:
    """Return the hub's token, the keys that are kept or bound to hosts here, and those that endpoints asked for.

    Raises UserError `secrets_readable_by_others`, `store_file_unreadable`.
    """
    asked, kept = _asked_for(s), read_key_file()
    names = [HUB, *sorted({*asked, *kept.keys, *kept.hosts} - {HUB})]
    return [_as_known(s, name, asked.get(name, ())) for name in names]


def find_key(s: Services, name: str) -> KnownKey:
    """Return what may be shown of one key. Raises UserError `key_name_wrong`, `secrets_readable_by_others`."""
    return _as_known(s, name, ())


def _as_known(s: Services, name: str, asked_by: tuple[str, ...]) -> KnownKey:
    state, hosts = key_state(name), chosen_hosts(name)
    shown = s.person.may(ADMIN)
    return KnownKey(name, asked_by, hosts, state.is_set, state.places if shown else (), state.last_four if shown else "")


def _asked_for(s: Services) -> dict[str, tuple[str, ...]]:
    """Return the hosts of endpoints that were asked, by the name of their key."""
    found: dict[str, list[str]] = {}
    for endpoint in _endpoints(s):
        try:
            check_key_name(endpoint.key_variable)
        except UserError:
            continue
        if endpoint.host not in found.setdefault(endpoint.key_variable, []):
            found[endpoint.key_variable].append(endpoint.host)
    return {name: tuple(hosts) for name, hosts in found.items()}


def _endpoints(s: Services) -> Iterator[Endpoint]:
    for shelf in (EVALUATIONS, GENERATIONS):
        for folder in islice(JobFolders(s.data_dir / shelf).all(), _LOOKED_AT):
            try:
                request = read_json(folder / REQUEST)
                told = request.get("endpoint") or request.get("judge", {}).get("endpoint")
                yield from [Endpoint(told["address"], "", told["key_variable"])] if told else []
            except (UserError, OSError, KeyError, TypeError, AttributeError):
                continue  # a broken record hides no other


@needs(ADMIN)
def set_key(s: Services, name: str, value: str, hosts: Sequence[str] | None = None) -> KnownKey:
    """Keep a key, in the key ring where there is one, otherwise in `keys.json`; return what may be shown of it.

    `hosts` are those that it may be sent to; None leaves them as they are. Raises UserError `key_name_wrong`, `key_unusable`,
    `key_host_wrong`, `key_ring_refused`, `secrets_readable_by_others`, `disk_full`, `no_permission`.
    """
    check_key_name(name)
    value = check_key(name, value)
    bound = None if hosts is None else _read_hosts(hosts)
    in_ring = key_ring.works()
    if in_ring:
        key_ring.write(name, value)
    with change_keys() as kept:
        kept.keys[name] = None if in_ring else value
        if bound is not None:
            kept.hosts[name] = bound
    return find_key(s, name)


@needs(ADMIN)
def set_hosts(s: Services, name: str, hosts: Sequence[str]) -> KnownKey:
    """Choose the hosts that a key may be sent to, wherever it lies; without any, the first at which an admin uses it is chosen.

    Raises UserError `key_name_wrong`, `key_host_wrong`, `secrets_readable_by_others`, `disk_full`, `no_permission`.
    """
    check_key_name(name)
    bound = _read_hosts(hosts)
    with change_keys() as kept:
        kept.hosts[name] = bound
    return find_key(s, name)


def _read_hosts(hosts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(read_key_host(host) for host in hosts if host.strip()))


@needs(ADMIN)
def remove_key(s: Services, name: str) -> KnownKey:
    """Forget a key that was set here, and its hosts; return what may be shown of it, for the environment may still hold it.

    Raises UserError `key_name_wrong`, `key_not_set`, `key_in_environment`, `key_of_hub_login`, `key_ring_refused`,
    `secrets_readable_by_others`.
    """
    places = key_state(name).places
    if not {KEY_RING, FILE} & {*places} and name not in read_key_file().keys:
        kept_elsewhere = {ENVIRONMENT: "key_in_environment", HUB_LOGIN: "key_of_hub_login"}
        raise UserError(kept_elsewhere[places[0]] if places else "key_not_set", name=name)
    if KEY_RING in places:
        key_ring.delete(name)
    with change_keys() as kept:
        kept.keys.pop(name, None)
        kept.hosts.pop(name, None)
    return find_key(s, name)


@contextmanager
def change_keys() -> Iterator[KeyFile]:
    """Give what the file of keys holds to be changed, and write it as a whole. Raises UserError `disk_full`, `no_permission`."""
    folder = secrets_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with exclusively(folder / "keys.lock"):
        kept = read_key_file()
        yield kept
        write_json(key_file(), {"v": 1, "keys": kept.keys, "hosts": {each: hosts for each, hosts in kept.hosts.items() if hosts}})
