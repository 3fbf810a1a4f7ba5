"""Keys of people: which there are, set and removed. An admin sees where each is from and how it ends; nobody sees more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from tunesmith.access.people import ADMIN
from tunesmith.errors import UserError
from tunesmith.jobs.job import REQUEST, JobFolders
from tunesmith.services.context import Services
from tunesmith.services.jobs import EVALUATIONS
from tunesmith.services.rights import needs
from tunesmith.services.synthesis import GENERATIONS
from tunesmith.store.files import read_json, write_json
from tunesmith.store.locks import exclusively
from tunesmith.system import key_ring
from tunesmith.system.endpoint import Endpoint
from tunesmith.system.secret_files import secrets_folder
from tunesmith.system.secrets import (
    ENVIRONMENT,
    FILE,
    HUB,
    HUB_LOGIN,
    KEY_RING,
    check_key,
    check_key_name,
    key_file,
    key_state,
    read_key_file,
)

_LOOKED_AT = 100  # the newest requests of each kind: older endpoints are hardly in use


@dataclass(frozen=True)
class KnownKey:
    """A key by the name of its variable, and the hosts of endpoints that ask for it.

    `places` hold it, the used one first; they and `last_four` are empty for whoever is no admin.
    """

    name: str
    hosts: tuple[str, ...]
    is_set: bool
    places: tuple[str, ...]
    last_four: str

    @property
    def removable(self) -> bool:
        """Whether it can be removed here: what the environment or the hub's own client holds cannot."""
        return bool({KEY_RING, FILE} & {*self.places})


def list_keys(s: Services) -> list[KnownKey]:
    """Return the hub's token, the keys that are kept here and those that endpoints ask for.

    Raises UserError `secrets_readable_by_others`, `store_file_unreadable`.
    """
    hosts = _asked_for(s)
    names = [HUB, *sorted({*hosts, *read_key_file()} - {HUB})]
    return [_as_known(s, name, hosts.get(name, ())) for name in names]


def find_key(s: Services, name: str) -> KnownKey:
    """Return what may be shown of one key. Raises UserError `key_name_wrong`, `secrets_readable_by_others`."""
    return _as_known(s, name, ())


def _as_known(s: Services, name: str, hosts: tuple[str, ...]) -> KnownKey:
    state = key_state(name)
    shown = s.person.may(ADMIN)
    return KnownKey(name, hosts, state.is_set, state.places if shown else (), state.last_four if shown else "")


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
def set_key(s: Services, name: str, value: str) -> KnownKey:
    """Keep a key, in the key ring where there is one, otherwise in `keys.json`; return what may be shown of it.

    Raises UserError `key_name_wrong`, `key_unusable`, `key_ring_refused`, `secrets_readable_by_others`, `disk_full`, `no_permission`.
    """
    check_key_name(name)
    value = check_key(name, value)
    in_ring = key_ring.works()
    if in_ring:
        key_ring.write(name, value)
    with _changing() as kept:
        kept[name] = None if in_ring else value
    return find_key(s, name)


@needs(ADMIN)
def remove_key(s: Services, name: str) -> KnownKey:
    """Forget a key that was set here; return what may be shown of it, for the environment may still hold it.

    Raises UserError `key_name_wrong`, `key_not_set`, `key_in_environment`, `key_of_hub_login`, `key_ring_refused`,
    `secrets_readable_by_others`.
    """
    places = key_state(name).places
    if not {KEY_RING, FILE} & {*places} and name not in read_key_file():
        kept_elsewhere = {ENVIRONMENT: "key_in_environment", HUB_LOGIN: "key_of_hub_login"}
        raise UserError(kept_elsewhere[places[0]] if places else "key_not_set", name=name)
    if KEY_RING in places:
        key_ring.delete(name)
    with _changing() as kept:
        kept.pop(name, None)
    return find_key(s, name)


@contextmanager
def _changing() -> Iterator[dict[str, str | None]]:
    """Give the keys of the file to be changed, and write them as a whole."""
    folder = secrets_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with exclusively(folder / "keys.lock"):
        kept = read_key_file()
        yield kept
        write_json(key_file(), {"v": 1, "keys": kept})
