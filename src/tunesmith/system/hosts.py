"""By which names and addresses this computer may be called. A Host header that names another is a renamed address (DNS rebinding)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

import psutil

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


def host_of(header: str) -> str | None:
    """Return the host in a Host header, lower case, without port and brackets; None for what is none."""
    text = header.strip().lower()
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        return host if bracket and _is_address(host) and (not port or (_is_port(port[1:]) and port[0] == ":")) else None
    host, colon, port = text.partition(":")
    if colon and not _is_port(port):
        return None
    host = host.removesuffix(".")
    return host if host and all((c.isalnum() and c.isascii()) or c in "-._" for c in host) else None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 65536


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def own_names(more: Iterable[str] = ()) -> frozenset[str]:
    """Return every name and address by which this computer may be called in its network; `more` are those of the settings."""
    name = socket.gethostname().lower().removesuffix(".")
    short = name.partition(".")[0]
    families = {socket.AF_INET, socket.AF_INET6}
    addresses = {each.address.partition("%")[0] for card in psutil.net_if_addrs().values() for each in card if each.family in families}
    chosen = {host for each in more if (host := host_of(each))}
    return LOOPBACK_NAMES | addresses | chosen | {name, short, f"{short}.local"}
