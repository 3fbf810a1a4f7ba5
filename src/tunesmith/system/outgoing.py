"""Every request to an address that people write: it goes to the allowed host at a checked number, and no further. Knows no interface.

A name is looked up once for each connection, and the connection is made to a number of that very answer: a name that stands for another
address a moment later (DNS rebinding) changes nothing. TLS still asks for the name's certificate. No redirects, proxies, cookies, `.netrc`
or packed answers; an answer has a longest length and a longest time in all.
"""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from tunesmith.errors import UserError
from tunesmith.system.addresses import AllowedHost, as_number, find_allowed, read_address, require_reachable

CONNECT_SECONDS = 10.0
_PIECE_BYTES = 1 << 16
_HEADERS = {"User-Agent": "tunesmith", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "keep-alive"}


class Outgoing:
    """Requests to one address, for one thread at a time; the connection is kept open between them."""

    def __init__(self, address: str, allowed_hosts: Collection[str], read_seconds: float) -> None:
        """Check the address and its host; `read_seconds` is the longest silence in an answer.

        Raises UserError `endpoint_address_wrong`, `endpoint_host_not_allowed`.
        """
        found = read_address(address)
        self.address = found.url
        self._read_seconds = read_seconds
        self._line = _Line(find_allowed(found, allowed_hosts))
        self._session = requests.Session()  # noqa: TID251 here alone
        self._session.trust_env = False
        self._session.headers.clear()
        self._session.headers.update(_HEADERS)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._session.adapters.clear()
        self._session.mount(f"{found.scheme}://", _Adapter(self._line))
        weakref.finalize(self, self._line.close)

    @contextmanager
    def request(self, method: str, path: str, seconds: float, **options: Any) -> Iterator[requests.Response]:
        """Send, and give the answer while it comes; after `seconds` in all it is cut off.

        Raises what requests raises, and UserError `endpoint_private_address`, `endpoint_redirects`, `endpoint_answer_packed`,
        `endpoint_too_slow`.
        """
        late = threading.Event()
        timer = threading.Timer(seconds, self._line.cut, (late,))
        timer.daemon = True
        timer.start()
        try:
            with self._session.request(
                method, self.address + path, timeout=(CONNECT_SECONDS, self._read_seconds), allow_redirects=False, stream=True, **options
            ) as answer:
                if 300 <= answer.status_code < 400:
                    raise UserError("endpoint_redirects", address=self.address, status=answer.status_code)
                if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
                    raise UserError("endpoint_answer_packed", address=self.address)  # a few bytes may unpack to gigabytes
                yield answer
            if late.is_set():  # an answer of unknown length looks whole where it was cut
                raise self._too_slow(seconds)
        except (requests.RequestException, UserError) as error:
            if late.is_set():
                raise self._too_slow(seconds) from error
            raise
        finally:
            timer.cancel()
            self._line.tidy()

    def pieces(self, answer: requests.Response, most_bytes: int) -> Iterator[bytes]:
        """Yield an answer's bytes as they come. Raises UserError `endpoint_answer_too_large`."""
        count = 0
        for piece in answer.iter_content(_PIECE_BYTES):
            count += len(piece)
            if count > most_bytes:
                raise UserError("endpoint_answer_too_large", address=self.address, most_bytes=most_bytes)
            yield piece

    def lines(self, answer: requests.Response, most_bytes: int) -> Iterator[bytes]:
        """Yield an answer's lines as they come. Raises UserError `endpoint_answer_too_large`."""
        begun = b""
        for piece in self.pieces(answer, most_bytes):
            *whole, begun = (begun + piece).split(b"\n")
            yield from whole
        yield begun

    def _too_slow(self, seconds: float) -> UserError:
        return UserError("endpoint_too_slow", address=self.address, limit_seconds=seconds)


class _Line:
    """The way to one allowed host: checked at each opening, cut off by a timer from another thread."""

    def __init__(self, entry: AllowedHost) -> None:
        self._entry = entry
        self._connection: HTTPConnection | None = None
        self._handle: socket.socket | None = None  # a second handle: TLS takes the first one away

    def numbers(self, port: int) -> list[str]:
        """Return the numbers that may be connected to. Raises OSError, UserError `endpoint_private_address`."""
        host = self._entry.host
        if as_number(host) or self._entry.number:
            return [self._entry.number or host]
        found = [str(place[4][0]) for place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        require_reachable(self._entry, found)
        return list(dict.fromkeys(found))

    def opened(self, connection: HTTPConnection, opened: socket.socket) -> None:
        self.close()
        self._connection, self._handle = connection, opened.dup()

    def cut(self, late: threading.Event) -> None:
        late.set()
        if handle := self._handle:
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

    def tidy(self) -> None:
        """Let go of a connection that was not kept."""
        if self._connection and self._connection.sock is None:
            self.close()

    def close(self) -> None:
        if self._handle:
            self._handle.close()
        self._connection = self._handle = None


class _Adapter(HTTPAdapter):
    """Opens connections along a line."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        pools = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}
        self.poolmanager.pool_classes_by_scheme = {scheme: _along(self._line, pool) for scheme, pool in pools.items()}


def _along(line: _Line, pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    """Return a class of pools whose connections are opened along a line; everything else, TLS too, goes by the name as usual."""

    class Connection(pool.ConnectionCls):  # type: ignore[misc, name-defined]
        def _new_conn(self) -> socket.socket:
            opened = _open(line, self)
            line.opened(self, opened)
            return opened

    return type("Pool", (pool,), {"ConnectionCls": Connection})


def _open(line: _Line, connection: HTTPConnection) -> socket.socket:
    """Connect to the first number that answers. Raises urllib3's errors, UserError `endpoint_private_address`."""
    failure: OSError = OSError("no address")
    try:
        numbers = line.numbers(connection.port)
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    for number in numbers:
        try:
            opened = socket.create_connection((number, connection.port), CONNECT_SECONDS)
        except OSError as error:
            failure = error
            continue
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, str(failure)) from failure
    raise NewConnectionError(connection, str(failure)) from failure
