"""Addresses that people write: read strictly, compared with the allowed ones, told apart by whom they reach. Asks no network itself."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import idna

from tunesmith.errors import UserError
from tunesmith.system.network import is_loopback

LONGEST_ADDRESS, LONGEST_HOST = 2000, 253
_PORTS = {"http": 80, "https": 443}
_HOST = r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\s/:=@\[\]]+)(?::(?P<port>[1-9][0-9]{0,4}))?"
_ADDRESS = re.compile(rf"(?P<scheme>[hH][tT][tT][pP][sS]?)://{_HOST}(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:-]*)*)")
_ENTRY = re.compile(rf"{_HOST}(?:=(?P<number>[0-9a-fA-F:.]+))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a last part like this makes all of it a number (WHATWG URL, "ends in a number")
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last four bytes are an IPv4 address
Number = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Address:
    """Where to ask; the host is a name in lower case ASCII without a final dot, or a number in its one usual form."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def place(self) -> str:
        """Host and port written out, without a port that goes without saying."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address written out, without a final slash."""
        return f"{self.scheme}://{self.place}{self.path}"


@dataclass(frozen=True)
class AllowedHost:
    """An entry of the allowed hosts; `port` 0 stands for any, `number` for the only address that the name may stand for."""

    host: str
    port: int = 0
    number: str = ""


def read_address(text: str) -> Address:
    """Return the address in `http[s]://host[:port][/path]`.

    User names, queries, escapes, dot segments and numbers in another than their usual form (`127.1`, `0x7f.1`) are refused.
    Raises UserError `endpoint_address_wrong`.
    """
    text = text.strip()
    match = _ADDRESS.fullmatch(text) if len(text) <= LONGEST_ADDRESS and text.isprintable() else None
    try:
        if not match or {".", ".."} & set(match["path"].split("/")):
            raise ValueError
        scheme = match["scheme"].lower()
        return Address(scheme, _read_host(match["host"]), _read_port(match["port"]) or _PORTS[scheme], match["path"].rstrip("/"))
    except ValueError as error:
        raise UserError("endpoint_address_wrong", address=text[:200]) from error


def read_allowed_host(text: str) -> AllowedHost:
    """Return the entry in `host`, `host:port` or `host=number`, which lets the name stand for that number only.

    Raises UserError `endpoint_host_entry_wrong`.
    """
    text = text.strip()
    try:
        if text.count(":") > 1 and "[" not in text and "=" not in text:
            return AllowedHost(_read_host(f"[{text}]"))
        match = _ENTRY.fullmatch(text)
        if not match:
            raise ValueError
        host, number = _read_host(match["host"]), match["number"] or ""
        if number and (as_number(host) or not as_number(number := str(_usual(ipaddress.ip_address(number))))):
            raise ValueError
        return AllowedHost(host, _read_port(match["port"]), number)
    except ValueError as error:
        raise UserError("endpoint_host_entry_wrong", entry=text[:100]) from error


def find_allowed(address: Address, allowed_hosts: Collection[str]) -> AllowedHost:
    """Return the entry that allows an address; entries that cannot be read allow nothing. Raises UserError `endpoint_host_not_allowed`."""
    found = None
    for text in allowed_hosts:
        try:
            entry = read_allowed_host(text)
        except UserError:
            continue
        if entry.host == address.host and entry.port in {0, address.port}:
            found = entry if entry.number or not found else found
    if not found:
        raise UserError("endpoint_host_not_allowed", host=address.place, allowed=", ".join(allowed_hosts) or "-")
    return found


def require_reachable(entry: AllowedHost, numbers: Sequence[str]) -> None:
    """Refuse a name that stands for an address inside a network, unless its entry says so; `localhost` stands for this computer only.

    Raises UserError `endpoint_private_address`.
    """
    own = entry.host == "localhost" or entry.host.endswith(".localhost")
    for number in numbers:
        if not (is_loopback(number) if own else is_public(number)):
            raise UserError("endpoint_private_address", host=entry.host, found=number)


def is_public(number: str) -> bool:
    """Whether an address is one of the internet; of those that carry an IPv4 address (mapped, 6to4, NAT64), whether that one is."""
    found = as_number(number)
    if found is None:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return found.is_global and not found.is_multicast and not found.is_reserved
    carried = found.ipv4_mapped or found.sixtofour or (ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF) if found in _NAT64 else None)
    return is_public(str(carried)) if carried else found in _UNICAST and found.is_global and not found.teredo


def as_number(host: str) -> Number | None:
    """Return a host as the number that it is, None for a name; a zone (`%eth0`) makes it neither."""
    try:
        return None if "%" in host else ipaddress.ip_address(host)
    except ValueError:
        return None


def _read_host(text: str) -> str:
    """Return a host in its one form. Raises ValueError for what is none, and for addresses that are of no one computer."""
    if text.startswith("["):
        return str(_usual(ipaddress.IPv6Address(text[1:-1])))
    name = text.lower().removesuffix(".")
    if not name.isascii():
        name = idna.encode(name, uts46=True).decode()  # its errors are ValueErrors
    parts = name.split(".")
    if len(name) > LONGEST_HOST or not all(_LABEL.fullmatch(part) for part in parts):
        raise ValueError
    return str(_usual(ipaddress.IPv4Address(name))) if _NUMERIC.fullmatch(parts[-1]) else name


def _usual(number: Number) -> Number:
    mapped = getattr(number, "ipv4_mapped", None)
    number = mapped or number
    if number.is_unspecified or number.is_multicast or number == ipaddress.IPv4Address("255.255.255.255"):
        raise ValueError
    return number


def _read_port(text: str | None) -> int:
    if int(text or 0) > 65535:
        raise ValueError
    return int(text or 0)
