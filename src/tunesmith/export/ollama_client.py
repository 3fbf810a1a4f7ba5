"""Asks an Ollama server by its REST interface: list, show, upload, create, chat, delete. Knows neither templates nor what we own.

Only allowed hosts are asked. Ollama quantises nothing of a GGUF file: a finished one is uploaded.
Source: docs/api.md, server/create.go and server/routes.go of ollama.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import requests

from tunesmith.errors import UserError
from tunesmith.export.ollama import OllamaModel, full_name
from tunesmith.store.files import sha256_of
from tunesmith.system.outgoing import Outgoing
from tunesmith.system.progress import Progress, Report, silent

DEFAULT_ADDRESS = "http://127.0.0.1:11434"
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
READ_SECONDS, ANSWER_SECONDS = 900.0, 3600.0  # loading a large model before its first answer takes minutes
SLOWEST_BYTES_PER_SECOND = 500_000  # of an upload
MOST_ANSWER_BYTES = 16_000_000
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class OllamaEntry:
    """A model as the server lists it; `digest` is of its manifest and changes with anything in it."""

    name: str
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class ChatAnswer:
    """An answer, why it ended (`stop`, `length`), its tokens and the seconds that they took, 0 when the server does not say."""

    text: str
    finish: str
    tokens: int
    seconds: float


class OllamaClient:
    """One server; the connection is kept open between questions.

    Raises UserError `endpoint_address_wrong`, `endpoint_host_not_allowed` when it is made; every method `ollama_not_running`,
    `ollama_broke_off`, `ollama_refused`, `ollama_bad_answer`, and as `Outgoing.request` and `pieces` do.
    """

    def __init__(self, base_url: str = DEFAULT_ADDRESS, allowed_hosts: Collection[str] = LOOPBACK_HOSTS) -> None:
        self._outgoing = Outgoing(base_url, allowed_hosts, READ_SECONDS)
        self.address = self._outgoing.address

    def version(self) -> str:
        """Return the server's version."""
        return str(self._ask("GET", "/api/version").get("version") or "")

    def list_models(self) -> list[OllamaEntry]:
        """Return the models that the server has."""
        listed = self._ask("GET", "/api/tags").get("models") or []
        try:
            return [OllamaEntry(str(m["name"]), str(m["digest"]), int(m["size"])) for m in listed]
        except (LookupError, TypeError, ValueError) as error:
            raise self._bad_answer(type(error).__name__) from error

    def find(self, name: str) -> OllamaEntry | None:
        """Return a model of the list, None when the server has none of that name; upper and lower case are one to Ollama."""
        wanted = full_name(name).lower()
        return next((entry for entry in self.list_models() if entry.name.lower() == wanted), None)

    def show(self, name: str) -> dict[str, Any]:
        """Return what the server tells of a model: `template`, `parameters`, `system` … Raises UserError `ollama_model_unknown`."""
        return self._ask("POST", "/api/show", model=full_name(name))

    def upload(self, file: Path, report: Report = silent) -> str:
        """Give the server a GGUF file, unless it has it already; return its digest.

        Raises UserError `not_a_gguf`, `ollama_refused`, `ollama_broke_off`.
        """
        with file.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                raise UserError("not_a_gguf", file=file.name)
        report("hashing", 0.0)
        digest = f"sha256:{sha256_of(file)}"
        report("uploading", 0.0)
        path = f"/api/blobs/{digest}"
        with self._request("HEAD", path) as answer:
            if answer.status_code not in {200, 404}:
                raise self._refusal(answer)
            present = answer.status_code == 200
        if not present:
            pieces = _Pieces(file, lambda share: report("uploading", share))
            with self._request("POST", path, ANSWER_SECONDS + len(pieces) / SLOWEST_BYTES_PER_SECOND, data=pieces) as answer:
                if answer.status_code not in {200, 201}:
                    raise self._refusal(answer)
        report("uploading", 1.0)
        return digest

    def create(self, name: str, file_name: str, digest: str, model: OllamaModel, report: Report = silent) -> None:
        """Make a model of an uploaded file. A model of that name is replaced: who calls has asked first.

        Raises UserError `ollama_create_failed` (reason: the server's own words), `ollama_create_unfinished`, `ollama_refused`.
        """
        body = {"model": full_name(name), "files": {file_name: digest}, "stream": True} | model.as_request()
        last = ""
        with self._request("POST", "/api/create", json=body) as answer:
            if answer.status_code != 200:
                raise UserError("ollama_create_failed", model=name, reason=self._reason(answer))
            for count, line in enumerate(self._lines(answer)):
                if line.get("error"):
                    raise UserError("ollama_create_failed", model=name, reason=str(line["error"])[:300])
                last = str(line.get("status") or "")
                report("creating", 1.0 - 0.5 ** (count + 1))  # the server does not tell how many steps there are
        if last != "success":
            raise UserError("ollama_create_unfinished", model=name, last=last or "-")
        report("creating", 1.0)

    def chat(self, name: str, question: str, max_tokens: int = 64) -> ChatAnswer:
        """Return the greedy answer to one question. Raises UserError `ollama_model_unknown`, `ollama_refused`."""
        found = self._ask(
            "POST", "/api/chat", model=full_name(name), messages=[{"role": "user", "content": question}], stream=False,
            options={"temperature": 0, "num_predict": max_tokens},
        )  # fmt: skip
        try:
            text, tokens, nanoseconds = found["message"]["content"], found.get("eval_count") or 0, found.get("eval_duration") or 0
            return ChatAnswer(str(text), str(found.get("done_reason") or ""), int(tokens), int(nanoseconds) / 1e9)
        except (LookupError, TypeError, ValueError) as error:
            raise self._bad_answer(type(error).__name__) from error

    def delete(self, name: str) -> None:
        """Delete a model: who calls has made sure that it is ours. Raises UserError `ollama_model_unknown`."""
        self._ask("DELETE", "/api/delete", model=full_name(name))

    def _ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        with self._request(method, path, json=body or None) as answer:
            if answer.status_code == 404 and "model" in body:
                raise UserError("ollama_model_unknown", model=body["model"], address=self.address)
            if answer.status_code != 200:
                raise self._refusal(answer)
            content = self._content(answer)
        try:
            found = orjson.loads(content or b"{}")
        except ValueError as error:
            raise self._bad_answer(type(error).__name__) from error
        if not isinstance(found, dict):
            raise self._bad_answer(type(found).__name__)
        return found

    @contextmanager
    def _request(self, method: str, path: str, seconds: float = ANSWER_SECONDS, **options: Any) -> Iterator[requests.Response]:
        """Send and give the answer while it comes; word what the network does."""
        connected = False
        try:
            with self._outgoing.request(method, path, seconds, **options) as answer:
                connected = True
                yield answer
        except requests.RequestException as error:
            began = connected or "data" in options or isinstance(error, requests.ReadTimeout)
            code = "ollama_broke_off" if began else "ollama_not_running"
            raise UserError(code, address=self.address, reason=type(error).__name__) from error

    def _lines(self, answer: requests.Response) -> Iterator[dict[str, Any]]:
        for line in self._outgoing.lines(answer, MOST_ANSWER_BYTES):
            if not line.strip():
                continue
            try:
                found = orjson.loads(line)
            except ValueError as error:
                raise self._bad_answer(type(error).__name__) from error
            if not isinstance(found, dict):
                raise self._bad_answer(type(found).__name__)
            yield found

    def _content(self, answer: requests.Response) -> bytes:
        return b"".join(self._outgoing.pieces(answer, MOST_ANSWER_BYTES))

    def _reason(self, answer: requests.Response) -> str:
        """Return the server's own words for a refusal."""
        content = self._content(answer)
        try:
            words = orjson.loads(content)["error"]
        except (ValueError, LookupError, TypeError):
            words = content.decode("utf-8", "replace")
        return " ".join(str(words).split())[:300] or "-"

    def _refusal(self, answer: requests.Response) -> UserError:
        return UserError("ollama_refused", address=self.address, status=answer.status_code, reason=self._reason(answer))

    def _bad_answer(self, reason: str) -> UserError:
        return UserError("ollama_bad_answer", address=self.address, reason=reason)


class _Pieces:
    """A file's bytes in pieces, with their number known beforehand, so that it goes over the wire unchunked and is never held whole."""

    def __init__(self, file: Path, report: Progress) -> None:
        self._file = file
        self._report = report
        self._size = file.stat().st_size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        done = 0
        with self._file.open("rb") as stream:
            while piece := stream.read(_PIECE_BYTES):
                yield piece
                done += len(piece)
                self._report(done / self._size)
