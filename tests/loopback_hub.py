"""A hub on loopback that serves real files by the routes that huggingface_hub asks: description, HEAD and GET of each file."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Answer = tuple[int, bytes, dict[str, str]]


@dataclass
class Repository:
    """Files, the card's front matter, and what is refused: `about` the description, `file` each file (status and headers)."""

    files: dict[str, bytes]
    card: dict[str, Any] | None = None
    about: tuple[int, dict[str, str]] | None = None
    file: tuple[int, dict[str, str]] | None = None
    sizes: bool = True


@dataclass
class LoopbackHub:
    """What is served, by name, and what was asked: (method, path, authorization)."""

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def answer(self, path: str) -> Answer:
        """Return status, body and headers, as the hub's own routes do."""
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            return self._about("/".join(parts[2:4]))
        found = self.repositories["/".join(parts[1:3])]
        name = "/".join(parts[5:])
        if parts[0] != "datasets" or parts[3:5] != ["resolve", COMMIT] or name not in found.files:
            return 404, b"", {"X-Error-Code": "EntryNotFound"}
        if found.file:
            return found.file[0], b"", found.file[1]
        return 200, found.files[name], {"X-Repo-Commit": COMMIT, "ETag": f'"{"a" * 40}"'}

    def _about(self, name: str) -> Answer:
        found = self.repositories.get(name)
        if not found:
            return 401, b"{}", {"X-Error-Code": "RepoNotFound"}  # as the hub does for what a stranger may not see
        if found.about:
            return found.about[0], b"{}", found.about[1]
        files = [{"rfilename": file} | ({"size": len(content)} if found.sizes else {}) for file, content in found.files.items()]
        about = {"id": name, "sha": COMMIT, "siblings": files, "cardData": found.card, "tags": [], "private": False, "downloads": 0}
        return 200, json.dumps(about).encode(), {"Content-Type": "application/json"}


@contextmanager
def serve_hub() -> Iterator[LoopbackHub]:
    """Serve a hub on a free port until the block is left."""

    class Route(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            hub.asked.append((self.command, path, self.headers.get("authorization", "")))
            status, body, headers = hub.answer(path)
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Route)
    hub = LoopbackHub(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
