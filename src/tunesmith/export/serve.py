"""An OpenAI-compatible server of one model: `python -m tunesmith.export.serve --model FOLDER`. Knows no jobs and no language.

Routes: /v1/models, /v1/chat/completions, /v1/completions. No CORS, so other sites' pages cannot ask: a body must be declared as JSON,
which a browser asks leave for, and the Host must be a name or an address of this machine, which a renamed one (DNS rebinding) is not.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import hmac
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tunesmith.errors import UserError
from tunesmith.export.openai_format import Envelope, Kind, Piece, describe_error, describe_model, read_question
from tunesmith.models.safety import check_model_folder
from tunesmith.system.hosts import LOOPBACK_NAMES, host_of, own_names
from tunesmith.system.network import EVERYWHERE, is_loopback, lan_address
from tunesmith.system.secrets import find_key

if TYPE_CHECKING:
    from tunesmith.export.served_model import ModelQueue, Ticket

MOST_BODY_BYTES = 4_000_000
CLOSING_SECONDS = 1  # what streams have to end in when the server stops
STATUS = {
    "request_body_too_large": 413, "request_type_wrong": 415, "request_path_unknown": 404, "served_model_unknown": 404,
    "server_key_wrong": 401, "server_host_refused": 403, "server_busy": 503, "host_failed": 500,
}  # fmt: skip
CLIENT_GONE = 499  # nginx's number; nobody reads it


@dataclass(frozen=True)
class Serving:
    """What is served and where: `name` is the model's for clients, port 0 a free one, `key` the bearer key or nothing.

    `names` are further ones by which the network calls this machine.
    """

    model: Path
    adapter: Path | None
    name: str
    host: str = "127.0.0.1"
    port: int = 0
    key: str = ""
    names: tuple[str, ...] = ()

    def hosts(self, loopback: bool) -> frozenset[str]:
        """Return the Host names that are let in."""
        return LOOPBACK_NAMES | {self.host.lower()} if loopback else own_names((self.host, *self.names))


def serve(serving: Serving, ready: Callable[[str], object]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is told the address once questions are answered.

    Raises UserError `serving_key_required`, `serving_port_in_use`, `serving_address_wrong`, `model_…`, `adapter_…`.
    """
    check_model_folder(serving.model)  # what can be told at once is told before the engine comes
    with _bind(serving.host, serving.port) as listener:
        own = is_loopback(listener.getsockname()[0])
        if not own and not serving.key:
            raise UserError("serving_key_required", host=serving.host)
        from tunesmith.export.served_model import ModelQueue  # imports mlx

        questions = ModelQueue(serving.model, serving.adapter)
        try:
            _listen(listener, serving)
            app = build_app(questions, serving, serving.hosts(own))
            config = uvicorn.Config(
                app, lifespan="off", ws="none", log_config=None, access_log=False, server_header=False,
                timeout_graceful_shutdown=CLOSING_SECONDS,
            )  # fmt: skip
            ready(_address(serving.host, listener.getsockname()[1]))
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            questions.close()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, OverflowError, UnicodeError) as error:
        raise UserError("serving_address_wrong", host=host, port=port, reason=str(error)) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _describe_refusal(error, host, port) from error
    return listener


def _listen(listener: socket.socket, serving: Serving) -> None:
    try:
        listener.listen()
    except OSError as error:  # somebody else bound the port too, and listened first
        raise _describe_refusal(error, serving.host, serving.port) from error


def _describe_refusal(error: Exception, host: str, port: int) -> UserError:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return UserError("serving_port_in_use", host=host, port=port)
    return UserError("serving_address_wrong", host=host, port=port, reason=str(error))


def _address(host: str, port: int) -> str:
    """Return the base address for clients; for a host that stands for all of a machine's addresses, one that others reach."""
    reachable = lan_address() if host in {"", EVERYWHERE, "::"} else host
    return f"http://[{reachable}]:{port}/v1" if ":" in reachable else f"http://{reachable}:{port}/v1"


def build_app(questions: ModelQueue, serving: Serving, hosts: frozenset[str]) -> Starlette:
    """Return the routes behind their gate; `hosts` are the Host names that are let in."""
    api = Api(questions, serving.name)
    routes = [
        Route("/v1/models", api.list_models), Route("/v1/models/{name:path}", api.show_model),
        Route("/v1/chat/completions", api.chat, methods=["POST"]), Route("/v1/completions", api.complete, methods=["POST"]),
    ]  # fmt: skip
    handlers: dict[Any, Any] = {UserError: _tell_error, HTTPException: _tell_path, ClientDisconnect: _tell_nobody}
    return Starlette(routes=routes, middleware=[Middleware(Gate, hosts=hosts, key=serving.key)], exception_handlers=handlers)


class Api:
    """The routes' work."""

    def __init__(self, questions: ModelQueue, name: str) -> None:
        self._questions = questions
        self._name = name
        self._created = int(time.time())

    async def list_models(self, request: Request) -> Response:
        """Answer with the one model."""
        del request
        return _as_json({"object": "list", "data": [describe_model(self._name, self._created)]})

    async def show_model(self, request: Request) -> Response:
        """Answer with the one model. Raises UserError `served_model_unknown`."""
        self._require_name(request.path_params["name"])
        return _as_json(describe_model(self._name, self._created))

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        return await self._answer(request, "chat")

    async def complete(self, request: Request) -> Response:
        """Go on with a text."""
        return await self._answer(request, "text")

    def _require_name(self, asked: str) -> None:
        if asked != self._name:
            raise UserError("served_model_unknown", asked=asked[:200], served=self._name)

    async def _answer(self, request: Request, kind: Kind) -> Response:
        question = read_question(await _read_body(request), kind)
        self._require_name(question.model)
        pieces = _follow(request, self._questions.ask(question))
        envelope = Envelope(kind, self._name)
        first = await anext(pieces, None)  # what is wrong with the question shows before an answer begins
        if first is None:
            return Response(status_code=CLIENT_GONE)
        if question.stream:
            events = _write_events(envelope, pieces, question.include_usage)
            return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        written = [piece async for piece in pieces]
        if not written or not written[-1].finish:
            return Response(status_code=CLIENT_GONE)
        return _as_json(envelope.whole("".join(piece.text for piece in written), written[-1]))


async def _follow(request: Request, ticket: Ticket) -> AsyncIterator[Piece]:
    """Yield an answer's pieces; an answer that nobody waits for any more is given up."""
    watch = asyncio.create_task(_abandon_when_gone(request, ticket))
    try:
        while piece := await ticket.next():
            yield piece
    finally:
        ticket.abandon()
        watch.cancel()


async def _abandon_when_gone(request: Request, ticket: Ticket) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    ticket.abandon()


async def _write_events(envelope: Envelope, pieces: AsyncIterator[Piece], include_usage: bool) -> AsyncIterator[bytes]:
    yield _event(envelope.begin())
    piece = None
    try:
        async for piece in pieces:
            yield _event(envelope.piece(piece))
    except UserError as error:
        yield _event(describe_error(error, STATUS.get(error.code, 400)))
        return
    if include_usage and piece:
        yield _event(envelope.bill(piece))
    yield b"data: [DONE]\n\n"


def _event(record: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(record) + b"\n\n"


async def _read_body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UserError("request_type_wrong", expected="application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            raise UserError("request_body_too_large", largest_bytes=MOST_BODY_BYTES)
    return bytes(body)


class Gate:
    """ASGI middleware: lets in who names an allowed Host and has the key."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], key: str) -> None:
        self._app = app
        self._hosts = hosts
        self._expected = f"Bearer {key}".encode() if key else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        headers = Headers(scope=scope)
        named = headers.getlist("host")
        if len(named) != 1 or host_of(named[0]) not in self._hosts:
            await _refuse(UserError("server_host_refused", host=", ".join(named)[:200]))(scope, receive, send)
        elif self._expected and not hmac.compare_digest(headers.get("authorization", "").encode("latin-1"), self._expected):
            await _refuse(UserError("server_key_wrong"))(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _as_json(record: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(record), status, headers, media_type="application/json")


def _refuse(error: UserError, status: int = 0) -> Response:
    status = status or STATUS.get(error.code, 400)
    return _as_json(describe_error(error, status), status, {"www-authenticate": "Bearer"} if status == 401 else None)


async def _tell_error(request: Request, error: UserError) -> Response:
    del request
    return _refuse(error)


async def _tell_path(request: Request, error: HTTPException) -> Response:
    return _refuse(UserError("request_path_unknown", method=request.method, path=request.url.path[:200]), error.status_code)


async def _tell_nobody(request: Request, error: ClientDisconnect) -> Response:
    del request, error
    return Response(status_code=CLIENT_GONE)


def main(arguments: list[str] | None = None) -> int:
    """Serve as the command line says; the first line of the output is the address, an error is a record on its own line."""
    parser = argparse.ArgumentParser(prog="tunesmith.export.serve")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--name", default="")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key-variable", default="")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    os.environ["HF_HUB_OFFLINE"] = "1"  # a folder is served as it lies there
    from tunesmith.models.blas import prepare_worker

    prepare_worker()  # before the first import of mlx
    try:
        key = find_key(options.key_variable) if options.key_variable else ""
        if options.key_variable and not key:
            raise UserError("endpoint_key_missing", variable=options.key_variable)
        name = options.name or options.model.resolve().name
        serve(Serving(options.model, options.adapter, name, options.host, options.port, key), _say_address)
    except UserError as error:
        sys.stderr.write(orjson.dumps(error.as_record()).decode() + "\n")
        return 1
    return 0


def _say_address(address: str) -> None:
    sys.stdout.write(address + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
