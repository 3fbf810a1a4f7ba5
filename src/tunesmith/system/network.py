"""This computer's own addresses."""

from __future__ import annotations

import ipaddress
import socket

LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"  # by wish # noqa: S104 # nosec B104


def lan_address() -> str:
    """Return this computer's address in its network; without a network, the one on itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of datagrams this sends nothing: the system only picks the way out
        except OSError:
            return LOOPBACK
        return str(probe.getsockname()[0])


def is_loopback(address: str) -> bool:
    """Whether an address, as sockets tell it, is of this computer itself."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(known, "ipv4_mapped", None)
    return bool((mapped or known).is_loopback)
