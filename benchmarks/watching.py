"""Browser tabs without a browser: what a tab on a run's page asks of the server, over the same websocket and kept connections.

A tab draws its page once. Then it asks for the figures and the curves as often as the server lets it, and, as ui/assets/figures.js does,
has a part of the page or all of it drawn anew when what that shows is no longer so.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

Times = dict[str, list[tuple[float, float]]]  # kind of question: (when it was asked, seconds until the answer)


@dataclass
class Connection:
    """One kept HTTP connection, and what its answers say about the next question."""

    port: int
    every_seconds: float = 1.0
    spread_seconds: float = 0.0
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, bytes]:
        """Ask as a browser does; return (status, body)."""
        if self._streams is None or self._streams[0].at_eof():  # the server hangs up on who asks nothing for a while
            self._streams = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22)
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAccept-Encoding: gzip, deflate, br\r\n\r\n".encode())
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.every_seconds = float(headers.get("x-every-ms", 1000)) / 1000
        self.spread_seconds = float(headers.get("x-spread-ms", 0)) / 1000
        return int(status.split(" ", 2)[1]), await reader.readexactly(int(headers.get("content-length", 0)))

    def close(self) -> None:
        """Hang up."""
        if self._streams:
            self._streams[1].close()


@dataclass
class Curve:
    """One plot that asks for what is new, while it is `shown`."""

    connection: Connection
    run: str
    name: str
    took: Times
    shown: asyncio.Event = field(default_factory=asyncio.Event)
    bytes_read: int = 0
    revision: int = -1

    async def follow(self) -> None:
        """Ask again and again, from a random moment on."""
        await asyncio.sleep(random.random() * self.connection.every_seconds)
        while await self.shown.wait():
            asked = time.perf_counter()
            status, body = await self.connection.get(f"/live/runs/{self.run}?since={self.revision}&smoothing=0&viewer={self.name}")
            self.took["curve"].append((asked, time.perf_counter() - asked))
            if status not in {200, 204}:
                raise RuntimeError(f"a curve was answered with {status}")
            if body:
                self.revision = json.loads(body[4 : 4 + int.from_bytes(body[:4], "little")])["rev"]
                self.bytes_read += len(body)
            await asyncio.sleep(self.connection.every_seconds)


@dataclass
class Tab:
    """One browser tab on a run's page, or on another `page`; while it is not `shown`, it asks nothing, as a tab behind others."""

    port: int
    run: str
    name: str
    page: str = "training"
    took: Times = field(default_factory=lambda: defaultdict(list))
    marks: dict[str, dict[str, Any]] = field(default_factory=dict)  # of each part that can be drawn anew ("" is the page): what it shows
    broken: int = 0
    bytes_read: int = 0
    stage: str = ""
    shown: asyncio.Event = field(default_factory=asyncio.Event)
    _known: dict[str, None] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)
    _waiting: set[str] = field(default_factory=set)
    _page_hash: str = ""
    _one_by_one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _socket: Any = None

    async def open(self) -> None:
        """Connect and draw the whole page."""
        address = f"127.0.0.1:{self.port}"
        self._socket = await websockets.connect(
            f"ws://{address}/_stcore/stream", subprotocols=["streamlit"], origin=f"http://{address}", max_size=None, ping_interval=None,
            open_timeout=60, close_timeout=1,
        )  # type: ignore[call-overload]  # fmt: skip
        await self._draw("", "open")

    async def follow(self) -> None:
        """Ask for figures and curves, each on its own turn, and draw anew what has grown old."""
        connections = [Connection(self.port), Connection(self.port)]
        curve = Curve(connections[0], self.run, self.name, self.took, self.shown)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(curve.follow())
                tasks.create_task(self._follow_figures(connections[1], tasks))
        finally:
            self.bytes_read += curve.bytes_read
            for connection in connections:
                connection.close()

    async def _follow_figures(self, connection: Connection, tasks: asyncio.TaskGroup) -> None:
        await asyncio.sleep(random.random() * connection.every_seconds)
        while await self.shown.wait():
            asked = time.perf_counter()
            status, body = await connection.get(f"/live/runs/{self.run}/figures?lang=en&viewer={self.name}")
            self.took["figures"].append((asked, time.perf_counter() - asked))
            if status != 200:
                raise RuntimeError(f"the figures were answered with {status}")
            news = json.loads(body)["marks"]
            self.stage = news["stage"]
            self.bytes_read += len(body)
            for part, shown in self.marks.items():
                if part not in self._waiting and any(news[mark] != value for mark, value in shown.items()):
                    self._waiting.add(part)
                    tasks.create_task(self._renew(part, connection.spread_seconds))
            await asyncio.sleep(connection.every_seconds)

    async def _renew(self, part: str, spread_seconds: float) -> None:
        """Draw a part anew, at most every two seconds, and not when all others do."""
        await asyncio.sleep(max(0.0, self._asked.get(part, 0.0) + 2 - time.perf_counter()) + random.random() * spread_seconds)
        self._asked[part] = time.perf_counter()
        await self._draw(part, "part" if part else "page")
        self._waiting.discard(part)

    async def _draw(self, part: str, kind: str) -> None:
        async with self._one_by_one:
            asked = time.perf_counter()
            message = BackMsg()
            wanted = message.rerun_script
            wanted.query_string, wanted.page_script_hash, wanted.page_name = f"run={self.run}&lang=en", self._page_hash, self.page
            wanted.fragment_id = part
            wanted.cached_message_hashes.extend(self._known)
            await self._socket.send(message.SerializeToString())
            while not self._is_drawn(ForwardMsg.FromString(await asyncio.wait_for(self._socket.recv(), 120))):
                pass
            self.took[kind].append((asked, time.perf_counter() - asked))

    def _is_drawn(self, message: Any) -> bool:
        """Note what the server sends; return whether it was the last of this drawing."""
        kind = message.WhichOneof("type")
        if kind == "navigation":
            self._page_hash = message.navigation.page_script_hash
        elif kind == "auto_rerun" and message.auto_rerun.interval:
            raise RuntimeError(f"a part of the page renews itself, which is not measured here: {message.auto_rerun}")
        elif kind == "delta":
            self._note(message)
        return kind == "script_finished" and message.script_finished in {0, 3}

    def _note(self, message: Any) -> None:
        if message.metadata.cacheable:
            self._known[message.hash] = None
            while len(self._known) > 8:
                self._known.pop(next(iter(self._known)))
        element = message.delta.new_element
        self.broken += element.WhichOneof("type") == "exception"
        if element.WhichOneof("type") == "bidi_component" and (marks := json.loads(element.bidi_component.json).get("marks")):
            self.marks[message.delta.fragment_id] = marks

    async def close(self) -> None:
        """Close the tab."""
        await self._socket.close()
