"""A hub on loopback by the routes that huggingface_hub asks: data sets and models described and served, models made and uploaded to.

What is uploaded is checked as the hub does: a large file against its hash, a commit against what was sent, a token against who may write.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Answer = tuple[int, bytes, dict[str, str]]


@dataclass
class Repository:
    """Files, the card's front matter, and what is refused: `about` the description, `file` each file (status and headers).

    `facts` are what a model's description tells beside its files; `members` are tokens that a gated one is open to.
    """

    files: dict[str, bytes]
    card: dict[str, Any] | None = None
    about: tuple[int, dict[str, str]] | None = None
    file: tuple[int, dict[str, str]] | None = None
    sizes: bool = True
    facts: dict[str, Any] = field(default_factory=dict)
    members: set[str] = field(default_factory=set)


@dataclass
class LoopbackHub:
    """What is served, by name, and what was asked: (method, path, authorization), and `targets`, the addresses with all that they say.

    `writers` and `readers` are tokens that may write models and that may not; `objects` are large files sent, by hash; `lost` are names
    that the hub forgets when it takes a commit; files of more than `part_bytes` are asked for in parts.

    Of what is downloaded: `ranges` are the (path, range) that were asked for; of `drops` each GET of a safetensors file takes one: the
    connection ends after so many bytes; `busy` are the headers of the next answers 429; while `silent` is set, weights stop coming
    after 1 MB of them; `wrong` tokens are refused.
    """

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    models: dict[str, Repository] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    writers: set[str] = field(default_factory=set)
    readers: set[str] = field(default_factory=set)
    objects: dict[str, bytes] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    part_bytes: int = 1 << 30
    parts: dict[str, bytes] = field(default_factory=dict)
    ranges: list[tuple[str, str]] = field(default_factory=list)
    drops: list[int] = field(default_factory=list)
    busy: list[dict[str, str]] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)
    wrong: set[str] = field(default_factory=set)
    targets: list[str] = field(default_factory=list)
    ignores_ranges: bool = False

    def answer(self, path: str, token: str = "", query: Mapping[str, list[str]] | None = None) -> Answer:
        """Return status, body and headers, as the hub's own routes do."""
        parts = path.strip("/").split("/")
        if self.busy:
            return 429, b"{}", self.busy.pop(0)
        if token in self.wrong:
            return 401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"}
        if parts == ["api", "models"]:
            return self._search(query or {})
        if parts[:2] == ["api", "models"] or parts[2:4] == ["resolve", COMMIT]:
            return self._model(parts, token)
        if parts[:2] == ["api", "datasets"]:
            return self._about("/".join(parts[2:4]))
        found = self.repositories["/".join(parts[1:3])]
        name = "/".join(parts[5:])
        if parts[0] != "datasets" or parts[3:5] != ["resolve", COMMIT] or name not in found.files:
            return 404, b"", {"X-Error-Code": "EntryNotFound"}
        if found.file:
            return found.file[0], b"", found.file[1]
        return _served(found.files[name])

    def _about(self, name: str) -> Answer:
        found = self.repositories.get(name)
        if not found:
            return 401, b"{}", {"X-Error-Code": "RepoNotFound"}  # as the hub does for what a stranger may not see
        if found.about:
            return found.about[0], b"{}", found.about[1]
        files = [{"rfilename": file} | ({"size": len(content)} if found.sizes else {}) for file, content in found.files.items()]
        about = {"id": name, "sha": COMMIT, "siblings": files, "cardData": found.card, "tags": [], "private": False, "downloads": 0}
        return 200, json.dumps(about).encode(), {"Content-Type": "application/json"}

    def _model(self, parts: list[str], token: str) -> Answer:
        """Describe a model, list its files, or serve one; a private one only to those who may write it."""
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        found = self.models.get(name)
        if not found or (name in self.private and token not in self.writers):
            return 401, b"{}", {"X-Error-Code": "RepoNotFound"}
        if parts[0] != "api":
            file = "/".join(parts[4:])
            if found.facts.get("gated") and token not in found.members:
                return 403 if token else 401, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
            if found.file:
                return found.file[0], b"", found.file[1]
            return _served(found.files[file]) if file in found.files else (404, b"", {"X-Error-Code": "EntryNotFound"})
        if "tree" in parts:
            tree = [
                {"type": "file", "path": file, "size": len(content), "oid": _git_hash(content)} for file, content in found.files.items()
            ]
            return _json(200, tree)
        if found.about:
            return found.about[0], b"{}", found.about[1]
        files = [{"rfilename": file} | (_stored(file, content) if found.sizes else {}) for file, content in found.files.items()]
        about = {"id": name, "sha": COMMIT, "siblings": files, "tags": [], "private": name in self.private, "downloads": 0}
        return _json(200, about | found.facts)

    def _search(self, query: Mapping[str, list[str]]) -> Answer:
        """List the models of which the name holds the text and the tags the filter, most loaded first."""
        text, wanted = query.get("search", [""])[0].lower(), set(query.get("filter", []))
        found = [
            {"id": name, "tags": [], "downloads": 0, "private": False} | model.facts
            for name, model in self.models.items()
            if text in name.lower() and wanted <= set(model.facts.get("tags", [])) and name not in self.private
        ]
        return _json(200, sorted(found, key=lambda about: -about["downloads"])[: int(query.get("limit", ["100"])[0])])

    def take(self, path: str, token: str, body: bytes) -> Answer:
        """Take what is posted or put."""
        parts = path.strip("/").split("/")
        if parts[0] == "lfs":
            return self._take_object(parts, body)
        if parts == ["api", "validate-yaml"]:
            return _json(200, {"errors": [], "warnings": []})
        if token not in self.writers:
            return (
                _json(403, {"error": "This token may not write."})
                if token in self.readers
                else _json(401, {"error": "Invalid credentials"})
            )
        if parts == ["api", "repos", "create"]:
            return self._make(json.loads(body))
        if parts[-1] == "batch":
            return self._batch(json.loads(body))
        name = "/".join(parts[2:4])
        found = self.models.get(name)
        if not found:
            return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
        return self._plan(found, json.loads(body)) if parts[4] == "preupload" else self._commit(name, found, body)

    def _make(self, wanted: dict[str, Any]) -> Answer:
        name = f"{wanted['organization']}/{wanted['name']}"
        address = {"url": f"{self.address}/{name}"}
        if name in self.models:
            return _json(409, address | {"error": "You already created this model repo"})
        self.models[name] = Repository({})
        if wanted.get("visibility") == "private" or wanted.get("private"):
            self.private.add(name)
        return _json(200, address)

    def _plan(self, found: Repository, wanted: dict[str, Any]) -> Answer:
        """Say which files are large, and what there is already."""
        files = []
        for file in wanted["files"]:
            large = file["path"].endswith((".safetensors", ".gguf")) or file["size"] > 10_000_000
            present = found.files.get(file["path"])
            oid = None if present is None else hashlib.sha256(present).hexdigest() if large else _git_hash(present)
            files.append({"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid})
        return _json(200, {"files": files})

    def _batch(self, wanted: dict[str, Any]) -> Answer:
        objects = []
        for item in wanted["objects"]:
            href = f"{self.address}/lfs/{item['oid']}"
            upload: dict[str, Any] = {"href": href}
            if item["size"] > self.part_bytes:
                count = -(-item["size"] // self.part_bytes)
                places = {f"{number:05d}": f"{href}/part/{number}" for number in range(1, count + 1)}
                upload = {"href": f"{href}/complete", "header": {"chunk_size": str(self.part_bytes), **places}}
            actions = {"actions": {"upload": upload, "verify": {"href": f"{href}/verify"}}}
            objects.append(item | ({} if item["oid"] in self.objects else actions))
        return _json(200, {"transfer": "basic", "objects": objects})

    def _take_object(self, parts: list[str], body: bytes) -> Answer:
        oid = parts[1]
        if parts[-1] == "verify":
            told = json.loads(body)
            return _json(200 if len(self.objects.get(oid, b"")) == told["size"] else 404, {})
        if "part" in parts:
            self.parts[_git_hash(body)] = body
            return 200, b"", {"ETag": _git_hash(body)}
        if parts[-1] == "complete":
            body = b"".join(self.parts[part["etag"]] for part in json.loads(body)["parts"])
        if hashlib.sha256(body).hexdigest() != oid:
            return _json(400, {"error": "hash mismatch"})
        self.objects[oid] = body
        return _json(200, {})

    def _commit(self, name: str, found: Repository, body: bytes) -> Answer:
        """Take a commit whole or not at all."""
        files: dict[str, bytes] = {}
        deleted: set[str] = set()
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.objects:
                    return _json(400, {"error": f"no object {value['oid']}"})
                files[value["path"]] = self.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                if value["path"] not in found.files:
                    return _json(404, {"error": "A file with this name doesn't exist"})
                deleted.add(value["path"])
        for file in deleted:
            del found.files[file]
        found.files |= {file: content for file, content in files.items() if file not in self.lost}
        return _json(200, {"commitUrl": f"{self.address}/{name}/commit/{COMMIT}", "commitOid": COMMIT, "pullRequestUrl": None})


def _served(content: bytes) -> Answer:
    return 200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{_git_hash(content)}"'}


def _rest(wanted: str, body: bytes, headers: dict[str, str]) -> Answer:
    """Return what a request for `bytes=N-` gets."""
    begin = int(wanted.removeprefix("bytes=").partition("-")[0])
    return 206, body[begin:], headers | {"Content-Range": f"bytes {begin}-{len(body) - 1}/{len(body)}"}


def _stored(file: str, content: bytes) -> dict[str, Any]:
    """Return what the hub tells of a file: of a large one the SHA-256 of its content, of any other git's hash."""
    if not file.endswith(".safetensors"):
        return {"size": len(content), "blobId": _git_hash(content)}
    return {"size": len(content), "lfs": {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 130}}


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _json(status: int, record: Any) -> Answer:
    return status, json.dumps(record).encode(), {"Content-Type": "application/json"}


class _Server(ThreadingHTTPServer):
    hub: LoopbackHub

    def handle_error(self, *_: object) -> None:
        """Say nothing of those who went away in the middle."""


class _Route(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        path, token = self.ask()
        status, body, headers = self.server.hub.answer(path, token, parse_qs(urlparse(self.path).query))
        if (wanted := self.headers.get("Range")) and status == 200 and not self.server.hub.ignores_ranges:
            self.server.hub.ranges.append((path, wanted))
            status, body, headers = _rest(wanted, body, headers)
        self.send(status, body, headers)

    def do_POST(self) -> None:
        path, token = self.ask()
        self.send(*self.server.hub.take(path, token, self.rfile.read(int(self.headers["Content-Length"]))))

    def ask(self) -> tuple[str, str]:
        path = unquote(urlparse(self.path).path)
        authorization = self.headers.get("authorization", "")
        self.server.hub.asked.append((self.command, path, authorization))
        self.server.hub.targets.append(self.path)
        return path, authorization.removeprefix("Bearer ")

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.write(body)

    def write(self, body: bytes) -> None:
        hub, is_weights = self.server.hub, self.path.endswith(".safetensors")
        if is_weights and hub.drops:
            self.wfile.write(body[: hub.drops.pop(0)])
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        first = (1 << 20) if is_weights else len(body)
        self.wfile.write(body[:first])
        while is_weights and hub.silent.is_set():
            time.sleep(0.02)
        self.wfile.write(body[first:])

    do_HEAD = do_GET
    do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_hub() -> Iterator[LoopbackHub]:
    """Serve a hub on a free port until the block is left."""
    server = _Server(("127.0.0.1", 0), _Route)
    server.hub = hub = LoopbackHub(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        hub.silent.clear()
        server.shutdown()
        server.server_close()
