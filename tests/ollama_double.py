"""A double of an Ollama server on loopback: no Ollama, but its contract with real state, as in ollama's server/create.go and routes.go.

Uploaded files lie in a folder and are hashed and parsed, templates are parsed and executed, refusals have Ollama's statuses and words.
Answers are real only if an engine is passed in; without one, a chat is refused. The official Python client is driven against it as well.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.go_template import GoTemplateError, execute, parse

Engine = Callable[[Path, str, list[str], int], tuple[str, int]]  # GGUF file, prompt, stops, most tokens -> text, tokens
Lines = Iterator[dict[str, Any]]
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NAME = re.compile(r"([\w.-]+/)?[\w][\w.-]{0,79}(:[\w][\w.-]{0,79})?")
QUANTIZE_REFUSED = (
    "create-time quantization is only supported for safetensors imports; quantize GGUF models with llama.cpp tools before importing"
)


@dataclass
class Model:
    """What a manifest holds."""

    name: str
    blob: str
    size: int
    family: str
    template: str = "{{ .Prompt }}"
    system: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps([self.blob, self.template, self.system, self.parameters], sort_keys=True).encode()).hexdigest()

    def details(self) -> dict[str, Any]:
        about = {"parent_model": "", "format": "gguf", "family": self.family, "families": [self.family]}
        return about | {"parameter_size": "", "quantization_level": ""}


@dataclass
class OllamaDouble:
    """The server's state, what it was asked (method, path), and its faults: error lines to send in the middle of a creation, by model.

    `lists_cut` tells of each of the next lists of models whether the connection ends in place of it.
    """

    folder: Path
    engine: Engine | None = None
    address: str = ""
    models: dict[str, Model] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    faults: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    lists_cut: list[bool] = field(default_factory=list)

    def blob(self, digest: str) -> Path:
        return self.folder / digest.replace(":", "-")

    def find(self, name: str) -> Model | None:
        return self.models.get(tagged(name).lower())

    def tags(self) -> dict[str, Any]:
        return {
            "models": [
                {
                    "name": m.name,
                    "model": m.name,
                    "modified_at": "2026-11-21T00:00:00Z",
                    "size": m.size,
                    "digest": m.digest,
                    "details": m.details(),
                }
                for m in self.models.values()
            ]
        }

    def show(self, name: str) -> tuple[int, dict[str, Any]]:
        model = self.find(name)
        if not model:
            return 404, {"error": f"model '{name}' not found"}
        values = [(key, v) for key, value in model.parameters.items() for v in (value if isinstance(value, list) else [value])]
        parameters = "\n".join(f"{key:<30} {json.dumps(value, ensure_ascii=False)}" for key, value in values)
        about = {
            "modelfile": "",
            "parameters": parameters,
            "template": model.template,
            "details": model.details(),
            "capabilities": ["completion"],
        }
        about |= {"modified_at": "2026-11-21T00:00:00Z", "model_info": {"general.architecture": model.family}}
        return 200, about | ({"system": model.system} if model.system else {})

    def refuse_creation(self, body: dict[str, Any]) -> str:
        """Return why a creation is refused before it begins."""
        if not NAME.fullmatch(body.get("model") or body.get("name") or ""):
            return "invalid model name"
        if any(not DIGEST.fullmatch(digest) for digest in (body.get("files") or {}).values()):
            return "invalid digest format"
        if body.get("adapters"):
            return "LoRA adapters are no longer supported"
        return QUANTIZE_REFUSED if body.get("quantize") or body.get("quantization") else ""

    def create(self, body: dict[str, Any]) -> Lines:
        """Yield the status lines, at last an error or success."""
        name = tagged(body.get("model") or body["name"])
        present = self.find(name)
        name = present.name if present else name  # upper and lower case are one
        if not body.get("files"):
            yield {"error": "neither 'from' or 'files' was specified", "status": 400}
            return
        for digest in body["files"].values():
            yield {"status": "parsing GGUF"}
            try:
                family = architecture_of(self.blob(digest))
            except (OSError, ValueError) as error:
                yield {"error": str(error)}
                return
            yield {"status": f"using existing layer {digest}"}
        if name in self.faults:
            yield from self.faults[name]
            return
        model = Model(name, digest, self.blob(digest).stat().st_size, family, system=body.get("system") or "")
        if text := body.get("template"):
            try:
                parse(text)
            except GoTemplateError as error:
                yield {"error": f"template error: {error}", "status": 400}
                return
            model.template = text
            yield {"status": f"creating new layer sha256:{hashlib.sha256(text.encode()).hexdigest()}"}
        model.parameters = body.get("parameters") or {}
        yield {"status": "writing manifest"}
        self.models[name.lower()] = model
        yield {"status": "success"}

    def chat(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        model = self.find(body["model"])
        if not model:
            return 404, {"error": f"model '{body['model']}' not found"}
        if not self.engine:
            return 500, {"error": "this double has no engine"}
        messages = body["messages"]
        if model.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": model.system}, *messages]
        prompt = execute(model.template, messages)
        self.prompts.append(prompt)
        options = model.parameters | (body.get("options") or {})
        limit = int(options.get("num_predict", 128))
        text, tokens = self.engine(self.blob(model.blob), prompt, list(options.get("stop") or []), limit)
        return 200, {
            "model": body["model"], "created_at": "2026-11-21T00:00:00Z", "message": {"role": "assistant", "content": text}, "done": True,
            "done_reason": "length" if tokens >= limit else "stop", "total_duration": 2_000_000, "load_duration": 1, "prompt_eval_count": 1,
            "prompt_eval_duration": 1, "eval_count": tokens, "eval_duration": 1_000_000,
        }  # fmt: skip


def tagged(name: str) -> str:
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def architecture_of(path: Path) -> str:
    """Parse a GGUF file; raises OSError where there is none, ValueError where it is none."""
    from gguf import GGUFReader

    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise ValueError("supplied file was not in GGUF format")
    found = GGUFReader(path).get_field("general.architecture")
    if found is None:
        raise ValueError("missing general.architecture")
    return str(found.contents())


class Server(ThreadingHTTPServer):
    """A server that knows whose state it serves."""

    def __init__(self, double: OllamaDouble) -> None:
        self.double = double
        super().__init__(("127.0.0.1", 0), Route)


class Route(BaseHTTPRequestHandler):
    """Ollama's routes over the double's state."""

    server: Server
    protocol_version = "HTTP/1.1"

    @property
    def double(self) -> OllamaDouble:
        return self.server.double

    def do_GET(self) -> None:
        self.double.asked.append((self.command, self.path))
        if self.path == "/api/tags" and self.double.lists_cut and self.double.lists_cut.pop(0):
            self.close_connection = True
            return
        self.answer(200, {"version": "0.33.0"} if self.path == "/api/version" else self.double.tags())

    def do_HEAD(self) -> None:
        self.double.asked.append((self.command, self.path))
        digest = self.path.rsplit("/", 1)[-1]
        self.answer(400 if not DIGEST.fullmatch(digest) else 200 if self.double.blob(digest).exists() else 404, None)

    def do_DELETE(self) -> None:
        self.double.asked.append((self.command, self.path))
        body = json.loads(self.body())
        name = body.get("model") or body["name"]
        gone = self.double.models.pop(tagged(name).lower(), None)
        self.answer(200 if gone else 404, None if gone else {"error": f"model '{name}' not found"})

    def do_POST(self) -> None:
        self.double.asked.append((self.command, self.path))
        if self.path.startswith("/api/blobs/"):
            self.take_blob(self.path.rsplit("/", 1)[-1])
            return
        body = json.loads(self.body())
        if self.path == "/api/show":
            self.answer(*self.double.show(body.get("model") or body["name"]))
        elif self.path == "/api/chat":
            status, answer = self.double.chat(body)
            if status == 200 and body.get("stream", True):
                self.stream(
                    iter(
                        [
                            answer | {"message": answer["message"], "done": False},
                            answer | {"message": {"role": "assistant", "content": ""}},
                        ]
                    )
                )
            else:
                self.answer(status, answer)
        elif refused := self.double.refuse_creation(body):
            self.answer(400, {"error": refused})
        else:
            self.stream(self.double.create(body), whole=body.get("stream") is False)

    def take_blob(self, digest: str) -> None:
        content = self.body()
        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if not DIGEST.fullmatch(digest):
            self.answer(400, {"error": "invalid digest format"})
        elif self.double.blob(digest).exists():
            self.answer(200, None)
        elif found != digest:
            self.answer(400, {"error": f'digest mismatch, expected "{digest}", got "{found}"'})
        else:
            self.double.blob(digest).write_bytes(content)
            self.answer(201, None)

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def answer(self, status: int, body: dict[str, Any] | None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def stream(self, lines: Lines, whole: bool = False) -> None:
        """Send lines as they come; an error before any line is a status of its own."""
        first = next(lines)
        if whole or "error" in first:
            last = [first, *lines][-1]
            self.answer(last.pop("status", 500) if "error" in last else 200, last)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in [first, *lines]:
            content = json.dumps({"error": line["error"]} if "error" in line else line).encode() + b"\n"
            self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_ollama(folder: Path, engine: Engine | None = None) -> Iterator[OllamaDouble]:
    """Serve a double on a free port until the block is left."""
    double = OllamaDouble(folder, engine)
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(double)
    double.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
