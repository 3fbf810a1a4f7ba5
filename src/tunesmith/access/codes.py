"""The codes that open the door to the network, one for each role, and the key that signs who came in. Knows no requests.

They lie in one file of mode 0600 outside of the data folder: a backup or a copy of the data carries no key.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunesmith.access.people import ROLES, Person
from tunesmith.errors import UserError
from tunesmith.store.files import make_folder, read_json, write_json
from tunesmith.store.locks import exclusively
from tunesmith.system.secret_files import is_there_in_private, secrets_folder

_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # 31 that are not taken for each other
_GROUPS, _GROUP_LETTERS = 6, 5  # 30 letters: 148 bits
SHORTEST_PASSPHRASE, _SHORTEST_KEY = 12, 32


def make_code() -> str:
    """Return a new code of 148 bits in groups that can be read aloud."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(_GROUP_LETTERS)) for _ in range(_GROUPS))


@dataclass(frozen=True)
class AccessCodes:
    """The code of each role, the key of the signatures (a changed key ends every session), and programs' tokens by their hash."""

    codes: dict[str, str]
    key: str
    tokens: dict[str, Person] = field(default_factory=dict)

    def role_of(self, given: str) -> str | None:
        """Return the role that a code opens, None for a wrong one; takes as long for each."""
        plain = _plain(given).encode()
        found = [role for role in ROLES if hmac.compare_digest(_plain(self.codes[role]).encode(), plain)]
        return found[-1] if found and plain else None

    def program(self, token: str) -> Person | None:
        """Return whom a program's token is of, None for a wrong one."""
        return self.tokens.get(_hash(token))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()  # of 256 bits by chance: nothing to guess, so nothing to slow down


def _plain(code: str) -> str:
    return "".join(c for c in code.casefold() if not c.isspace() and c != "-")


class AccessFile:
    """`access.json` in the folder of secrets."""

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or secrets_folder()) / "access.json"

    def open(self) -> AccessCodes:
        """Return the codes; made at the first call. Raises UserError `secrets_readable_by_others`, `store_file_unreadable`."""
        if not is_there_in_private(self.path):
            return self._write(AccessCodes({role: make_code() for role in ROLES}, _make_key()))
        return _read(read_json(self.path), self.path)

    def choose(self, role: str, passphrase: str) -> AccessCodes:
        """Give a role a made code or a person's passphrase; every session ends. Raises UserError `passphrase_short`, `passphrase_taken`."""
        if len(_plain(passphrase)) < SHORTEST_PASSPHRASE:
            raise UserError("passphrase_short", least=SHORTEST_PASSPHRASE)
        with self._alone():
            known = self.open()
            if any(_plain(code) == _plain(passphrase) for other, code in known.codes.items() if other != role):
                raise UserError("passphrase_taken")
            return self._write(replace(known, codes=known.codes | {role: " ".join(passphrase.split())}, key=_make_key()))

    def end_sessions(self) -> AccessCodes:
        """Take another key: everybody enters again, the codes stay."""
        with self._alone():
            return self._write(replace(self.open(), key=_make_key()))

    def add_token(self, person: Person) -> str:
        """Return a new token of a program, which is shown this once: only its hash is kept."""
        token = secrets.token_urlsafe(32)
        with self._alone():
            known = self.open()
            self._write(replace(known, tokens=known.tokens | {_hash(token): person}))
        return token

    def drop_tokens(self, name: str) -> int:
        """Make a program's tokens worthless and return how many there were."""
        with self._alone():
            known = self.open()
            kept = {hashed: person for hashed, person in known.tokens.items() if person.name != name}
            self._write(replace(known, tokens=kept))
        return len(known.tokens) - len(kept)

    def _alone(self) -> AbstractContextManager[None]:
        """Keep other threads and processes from changing the file meanwhile."""
        make_folder(self.path.parent)
        return exclusively(self.path.with_name("access.lock"))

    def _write(self, codes: AccessCodes) -> AccessCodes:
        make_folder(self.path.parent)
        tokens = {hashed: [person.name, person.role] for hashed, person in codes.tokens.items()}
        write_json(self.path, {"v": 1, "codes": codes.codes, "key": codes.key, "tokens": tokens})
        return codes


def _make_key() -> str:
    return secrets.token_hex(32)


def _read(record: Any, path: Path) -> AccessCodes:
    try:
        codes, key = {role: str(record["codes"][role]) for role in ROLES}, str(record["key"])
        tokens = {str(hashed): Person(str(name), str(role)) for hashed, (name, role) in record.get("tokens", {}).items() if role in ROLES}
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError("store_file_unreadable", file=path.name, folder=str(path.parent), reason=type(error).__name__) from error
    if len(key) < _SHORTEST_KEY or any(len(_plain(code)) < SHORTEST_PASSPHRASE for code in codes.values()):
        raise UserError("store_file_unreadable", file=path.name, folder=str(path.parent), reason="codes")
    return AccessCodes(codes, key, tokens)
