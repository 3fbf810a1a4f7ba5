"""What outgoing requests may and must not reach: canaries on loopback that count connections, a server that answers by a script, names."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

PLACES = ("127.0.0.1", "127.0.0.2", "::1")
CHAT = b'{"choices": [{"message": {"content": "good"}}], "models": [], "version": "1"}'
Script = Callable[[socket.socket, bytes], None]


@dataclass
class Listener:
    """A port on several loopback addresses; `hits` are the requests' heads, empty for a connection that sent none."""

    port: int
    hits: list[bytes] = field(default_factory=list)
    connections: int = 0
    script: Script | None = None
    wrap: Callable[[socket.socket], socket.socket] = field(default=lambda client: client)  # TLS


def answer(status: str = "200 OK", headers: Sequence[str] = (), body: bytes = CHAT, length: bool = True) -> Script:
    """Return a script that sends one answer and waits for the next request."""
    head = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    whole = "\r\n".join([*head, "", ""]).encode() + body
    return lambda client, _: client.sendall(whole)


@contextmanager
def listen(script: Script | None = None, places: Sequence[str] = PLACES) -> Iterator[Listener]:
    """Listen on one port of every place that there is; without a script, whatever comes is counted and shut out."""
    sockets = [found for place in places if (found := _bind(place, 0))]
    port = sockets[0].getsockname()[1]
    for other in sockets[1:]:
        other.close()
    open_ones = [sockets[0], *(found for place in places[1:] if (found := _bind(place, port)))]
    listener = Listener(port, script=script)
    for each in open_ones:
        each.listen(64)
        threading.Thread(target=_accept, args=(each, listener), daemon=True).start()
    try:
        yield listener
    finally:
        for each in open_ones:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _bind(place: str, port: int) -> socket.socket | None:
    made = socket.socket(socket.AF_INET6 if ":" in place else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((place, port))
    except OSError:  # this system has no such address
        made.close()
        return None
    return made


def _accept(server: socket.socket, listener: Listener) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        listener.connections += 1
        threading.Thread(target=_serve, args=(client, listener), daemon=True).start()


def _serve(client: socket.socket, listener: Listener) -> None:
    with client, suppress(OSError, ValueError):
        if not listener.script:
            listener.hits.append(b"")
            return
        with listener.wrap(client) as wrapped:
            while request := _read(wrapped):
                listener.hits.append(request)
                listener.script(wrapped, request)


def _read(client: socket.socket) -> bytes:
    """Return a request's head and body."""
    found = b""
    while b"\r\n\r\n" not in found:
        if not (piece := client.recv(65536)):
            return b""
        found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    sizes = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < sum(sizes):
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


class Names:
    """A resolver in place of the system's: each name's answers in turn, the last for ever; numbers stand for themselves."""

    def __init__(self, otherwise: Sequence[str] = ("127.0.0.1",)) -> None:
        self.answers: dict[str, list[Sequence[str]]] = {}
        self.asked: list[str] = []
        self._otherwise = otherwise
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *more: Any, **options: Any) -> Any:
        host = host.decode() if isinstance(host, bytes) else host
        if host and host not in self.answers:
            with suppress(OSError):
                return self._real(host, port, *more, **options | {"flags": socket.AI_NUMERICHOST})
        self.asked.append(host)
        waiting = self.answers.get(host) or [self._otherwise]
        numbers = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if not numbers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [_place(number, port) for number in numbers]


def _place(number: str, port: Any) -> tuple[Any, ...]:
    if ":" in number:
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", (number, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port)
