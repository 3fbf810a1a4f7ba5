"""The identity provider by which people may come in, and which of them have which role. Knows no requests and no protocol.

`oidc.json` lies beside the codes, mode 0600; its addresses are an admin's word, nobody who only visits can name one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tunesmith.access.codes import AccessFile
from tunesmith.access.people import LONGEST_NAME, ROLES
from tunesmith.errors import UserError
from tunesmith.store.files import read_json, write_json
from tunesmith.system.hosts import LOOPBACK_NAMES, host_of
from tunesmith.system.secret_files import is_there_in_private, secrets_folder


@dataclass(frozen=True)
class Provider:
    """An OpenID provider and what it is trusted with.

    `address` is this server's own, as it is registered there (without a path). `roles` gives roles to e-mail addresses (`ada@lab.org`)
    and to domains (`@lab.org`), `default_role` to everybody else whom the provider knows; without one they stay outside.
    `codes`: whether the codes open the door too. `trust_emails`: whether an address counts that is not said to be verified.
    """

    issuer: str
    client_id: str
    client_secret: str
    address: str
    roles: dict[str, str] = field(default_factory=dict)
    default_role: str = ""
    codes: bool = True
    trust_emails: bool = False

    @property
    def name(self) -> str:
        """What the provider is called on the page: its host."""
        return urlsplit(self.issuer).hostname or self.issuer

    @property
    def place(self) -> str:
        """Host and port by which people call this server."""
        return urlsplit(self.address).netloc.lower()

    def role_of(self, email: str) -> str:
        """Return the role of an e-mail address, nothing for one that stays outside."""
        return self.roles.get(email) or self.roles.get("@" + email.rpartition("@")[2]) or self.default_role


def check_provider(provider: Provider) -> None:
    """Refuse settings that cannot work or are not safe.

    Raises UserError `oidc_address_wrong`, `oidc_value_missing`, `oidc_person_wrong`, `setting_choice`.
    """
    for name in ("client_id", "client_secret"):
        if not getattr(provider, name).strip():
            raise UserError("oidc_value_missing", field=name)
    require_safe_address("issuer", provider.issuer)
    own = urlsplit(provider.address)
    if own.scheme not in {"http", "https"} or not host_of(own.netloc) or own.path or own.query or own.username:
        raise UserError("oidc_address_wrong", field="address", address=provider.address)
    for who, role in (*provider.roles.items(), *([("", provider.default_role)] if provider.default_role else [])):
        if who and (who != clean_email(who) or len(who) > LONGEST_NAME * 2):
            raise UserError("oidc_person_wrong", who=who)
        if role not in ROLES:
            raise UserError("setting_choice", field="role", value=role, choices=", ".join(ROLES))


def require_safe_address(field_name: str, address: str) -> None:
    """Refuse an address that others could listen at: https, or this computer itself. Raises UserError `oidc_address_wrong`."""
    parts = urlsplit(address)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_NAMES)
    if not safe or not parts.hostname or parts.username or parts.fragment:
        raise UserError("oidc_address_wrong", field=field_name, address=address[:200])


def clean_email(text: str) -> str:
    """Return an e-mail address, or a domain with its @, as it is compared; nothing for what is none."""
    email = text.strip().casefold()
    domain = email.rpartition("@")[2]
    plain = email.isascii() and email.isprintable() and " " not in email and email.count("@") == 1
    return email if plain and domain and "." in domain.strip(".") else ""


class ProviderFile:
    """`oidc.json` in the folder of secrets."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or secrets_folder()
        self.path = self._folder / "oidc.json"

    def open(self) -> Provider | None:
        """Return the provider, None where there is none. Raises UserError `secrets_readable_by_others`, `store_file_unreadable`."""
        if not is_there_in_private(self.path):
            return None
        return _read(read_json(self.path), self.path)

    def keep(self, provider: Provider) -> None:
        """Take a provider from now on; every session ends, for roles may have changed. Raises UserError as `check_provider`."""
        check_provider(provider)
        AccessFile(self._folder).end_sessions()
        write_json(self.path, {"v": 1, **asdict(provider)})

    def remove(self) -> bool:
        """Forget the provider and return whether there was one; every session ends."""
        known = self.path.exists()
        self.path.unlink(missing_ok=True)
        AccessFile(self._folder).end_sessions()
        return known


def _read(record: Any, path: Path) -> Provider:
    try:
        told = {name: record[name] for name in Provider.__dataclass_fields__ if name in record}
        provider = Provider(**told)
        check_provider(provider)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError("store_file_unreadable", file=path.name, folder=str(path.parent), reason=type(error).__name__) from error
    return provider
