"""Keys of people for what is asked elsewhere: where each is found, and what of it may be shown. Knows nobody who asks; writes none.

Looked for in this order: the environment, the system's key ring, `keys.json` in the folder of secrets, for the model hub's token also the
file of `hf auth login`, which stays the hub's own.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tunesmith.errors import UserError
from tunesmith.system import key_ring
from tunesmith.system.secret_files import is_there_in_private, secrets_folder

HUB = "HF_TOKEN"
ENVIRONMENT, KEY_RING, FILE, HUB_LOGIN = "environment", "key_ring", "file", "hub_login"
_SHOWN, _LONG_ENOUGH, _LONGEST = 4, 12, 4096
_NAME = re.compile(r"(?!TUNESMITH_)[A-Z][A-Z0-9_]{0,80}(KEY|TOKEN|SECRET|PASSWORD)")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_WAY_TO_THE_HUB = ("HF_ENDPOINT", "SSL_CERT_FILE", *_PROXIES, *(name.lower() for name in _PROXIES))


@dataclass(frozen=True)
class KeyState:
    """What may be shown of a key: the places that hold it, the used one first, and its last four characters, of a short one none."""

    name: str
    places: tuple[str, ...] = ()
    last_four: str = ""

    @property
    def is_set(self) -> bool:
        """Whether there is one."""
        return bool(self.places)


@dataclass
class KeyFile:
    """Keys by name, None for one in the key ring; and the hosts that a key may be sent to, wherever it lies."""

    keys: dict[str, str | None] = field(default_factory=dict)
    hosts: dict[str, tuple[str, ...]] = field(default_factory=dict)


def find_key(name: str) -> str:
    """Return the key of a name, empty where there is none.

    Raises UserError `key_name_wrong`, `key_unusable`, `secrets_readable_by_others`, `store_file_unreadable`.
    """
    check_key_name(name)
    for look in _PLACES.values():
        if key := look(name):
            return check_key(name, key)
    return ""


def key_state(name: str) -> KeyState:
    """Return what may be shown of a key. Raises UserError as `find_key` does, but for `key_unusable`."""
    check_key_name(name)
    found = {place: key for place, look in _PLACES.items() if (key := look(name))}
    used = next(iter(found.values()), "")
    return KeyState(name, tuple(found), used[-_SHOWN:] if len(used) >= _LONG_ENOUGH else "")


def check_key_name(name: str) -> None:
    """Refuse what is no name of a key. Raises UserError `key_name_wrong`, without the name: it may be a key in the wrong field."""
    if not _NAME.fullmatch(name):
        raise UserError("key_name_wrong")


def check_key(name: str, key: str) -> str:
    """Return a key that can stand in a request's header, without space around it. Raises UserError `key_unusable`."""
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key or len(key) > _LONGEST:
        raise UserError("key_unusable", name=name)
    return key


def mask(words: str, key: str) -> str:
    """Return what another computer said without the key that it was sent: some repeat it when they refuse it."""
    return words.replace(key, "***") if key else words


def hub_token() -> str:
    """Return the token for the model hub, empty where there is none. Raises UserError as `find_key` does."""
    return find_key(HUB)


def hub_environment() -> dict[str, str]:
    """Return what a process that talks to the hub gets beside a worker's environment: the token if there is one, and the way there."""
    passed = {name: os.environ[name] for name in _WAY_TO_THE_HUB if os.environ.get(name)}
    token = hub_token()
    return passed | ({HUB: token} if token else {}) | {"HF_HUB_OFFLINE": "0"}


def key_file() -> Path:
    """Return where keys are kept that the key ring does not keep."""
    return secrets_folder() / "keys.json"


def read_key_file() -> KeyFile:
    """Return what the file holds. Raises UserError as `find_key` does."""
    path = key_file()
    if not is_there_in_private(path):
        return KeyFile()
    try:
        record = orjson.loads(path.read_bytes())
        keys = {str(name): None if key is None else str(key) for name, key in record["keys"].items()}
        return KeyFile(keys, {str(name): tuple(map(str, hosts)) for name, hosts in record.get("hosts", {}).items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = type(error).__name__
        raise UserError("store_file_unreadable", file=path.name, folder=str(path.parent), reason=reason) from None


def hub_login_file() -> Path:
    """Return where huggingface_hub keeps a token (https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables)."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(os.environ.get("HF_TOKEN_PATH") or f"{home}/token").expanduser()


def _from_hub_login(name: str) -> str:
    try:
        return hub_login_file().read_text(encoding="utf-8").strip() if name == HUB else ""
    except (OSError, UnicodeDecodeError):
        return ""


_PLACES = {
    ENVIRONMENT: lambda name: os.environ.get(name, "").strip(),
    KEY_RING: key_ring.read,
    FILE: lambda name: read_key_file().keys.get(name) or "",
    HUB_LOGIN: _from_hub_login,
}
