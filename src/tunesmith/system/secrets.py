"""The token for the model hub: where it is found and what may be shown of it. Never written, logged or put into a command line by us.

Looked for in this order: the environment (`HF_TOKEN`), the system's key ring where the `keyring` package is installed, the file in which
huggingface_hub keeps the one of `hf auth login`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "HF_TOKEN"
KEYRING_SERVICE, KEYRING_ACCOUNT = "tunesmith", "hub-token"
_SHOWN, _LONG_ENOUGH = 4, 12


@dataclass(frozen=True)
class TokenState:
    """What a page may show: whether there is a token, where it is from (`environment`, `keyring`, `file`), its last four characters."""

    is_set: bool
    source: str = ""
    last_four: str = ""


def hub_token() -> str | None:
    """Return the token for the model hub, None where there is none."""
    return _find()[0] or None


def token_state() -> TokenState:
    """Return what may be shown of the token; of a short one nothing."""
    token, source = _find()
    return TokenState(bool(token), source, token[-_SHOWN:] if len(token) >= _LONG_ENOUGH else "")


def hub_environment(token: str | None, source: Mapping[str, str]) -> dict[str, str]:
    """Return what a process that talks to the hub gets beside a worker's environment: the token if there is one, and the way there."""
    passed = {name: source[name] for name in ("HF_ENDPOINT", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy") if source.get(name)}
    return passed | ({VARIABLE: token} if token else {}) | {"HF_HUB_OFFLINE": "0"}


def _find() -> tuple[str, str]:
    for source, look in (("environment", _from_environment), ("keyring", _from_keyring), ("file", _from_file)):
        if token := look():
            return token, source
    return "", ""


def _from_environment() -> str:
    return os.environ.get(VARIABLE, "").strip()


def _from_keyring() -> str:
    if not importlib.util.find_spec("keyring"):
        return ""
    keyring = importlib.import_module("keyring")
    try:
        return str(keyring.get_password(KEYRING_SERVICE, KEYRING_ACCOUNT) or "").strip()
    except importlib.import_module("keyring.errors").KeyringError:  # locked, or the system has none
        return ""


def _from_file() -> str:
    try:
        return token_file().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def token_file() -> Path:
    """Return where huggingface_hub keeps a token (https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables)."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(os.environ.get("HF_TOKEN_PATH") or f"{home}/token").expanduser()
