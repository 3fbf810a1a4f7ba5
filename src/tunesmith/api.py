"""The services for programs: JSON under /api, behind the same door as the pages, with its own description in OpenAPI.

A program sends `Authorization: Bearer <token>` (`tunesmith access token NAME`); what it may do is its token's role. Knows no pages.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tunesmith import __version__
from tunesmith.access.people import TRAINER, VIEWER
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import accepted_language, error_record
from tunesmith.services import context, datasets, experiments, model_uploads, models, runs, training
from tunesmith.services.context import Services
from tunesmith.store.experiments import ACTIVE
from tunesmith.store.files import LineTail

MOST_BODY_BYTES, PIECE_BYTES = 1_000_000, 1 << 20
LOOK_SECONDS = 0.5
LONGEST_NUMBER = 10  # digits; Python refuses to read a very long one
STATUS = {
    "run_unknown": 404, "model_unknown": 404, "dataset_unknown": 404, "role_needed": 403, "server_read_only": 503, "run_not_active": 409,
    "run_not_resumable": 409, "request_body_too_large": 413, "address_unknown": 404, "upload_too_large": 413,
    "target_exists": 409, "disk_nearly_full": 507, "disk_full": 507,
}  # fmt: skip
Answer = Callable[[Services, Request, str], Any]


@dataclass(frozen=True)
class Endpoint:
    """One address: what it answers, who may ask, and whether it takes a run's settings."""

    method: str
    path: str
    summary: str
    answer: Answer
    role: str = VIEWER
    takes_settings: bool = False


def _as_plain(value: Any) -> Any:
    """Return what JSON knows for what it does not: paths and errors in records."""
    if isinstance(value, UserError):
        return value.as_record()
    if isinstance(value, Path):
        return str(value)
    raise TypeError


def as_json(content: Any, status: int = 200) -> Response:
    """Return an answer in JSON; what is not a number there is null."""
    body = orjson.dumps(content, default=_as_plain, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return Response(body, status, media_type="application/json", headers={"cache-control": "no-store"})


def show_health(s: Services, request: Request, body: str) -> dict[str, Any]:
    """Answer whether the server stands, who is in charge of the store, and what runs."""
    del request, body
    active = [run.id for run in s.store.all()[0] if run.status in ACTIVE]
    return {"ok": True, "version": __version__, "in_charge": s.supervisor.in_charge, "active_runs": active}


def list_models(s: Services, request: Request, body: str) -> list[dict[str, Any]]:
    """Answer with the base models; `problem` tells why one cannot be used."""
    del request, body
    return [dataclasses.asdict(model) | {"problem": model.problem} for model in models.list_models(s)]


def list_datasets(s: Services, request: Request, body: str) -> list[dict[str, Any]]:
    """Answer with the data sets in figures."""
    del request, body
    return [dataclasses.asdict(summary) for summary in datasets.list_datasets(s)]


def list_runs(s: Services, request: Request, body: str) -> list[dict[str, Any]]:
    """Answer with the experiments, newest first; `limit` of them (100 by default)."""
    del body
    rows = experiments.table(s)[: _limit(request)]
    return [{name: value for name, value in vars(row).items() if name != "sparkline"} for row in rows]


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "100")
    if not (text.isascii() and text.isdigit() and len(text) < LONGEST_NUMBER):
        raise UserError("setting_type", field="limit", value=text[:20], expected="int")
    return int(text)


def show_run(s: Services, request: Request, body: str) -> dict[str, Any]:
    """Answer with a run's state, figures and settings."""
    del body
    state = runs.snapshot(s, request.path_params["run_id"])
    return {**vars(state), "config": dataclasses.asdict(state.config), "family": state.family, "active": state.active}


def show_series(s: Services, request: Request, body: str) -> dict[str, Any]:
    """Answer with a run's curves: of each metric the steps and the values."""
    del body
    reader = s.series(request.path_params["run_id"])
    columns = {name: reader.column(name) for name in reader.names}
    return {name: {"steps": steps, "values": values} for name, (steps, values) in columns.items()}


def start_run(s: Services, request: Request, body: str) -> dict[str, Any]:
    """Queue a run by settings in YAML or JSON, the same that the form opens; answer with its id."""
    del request
    return {"id": training.start(s, training.parse_config(body))}


def _acting(act: Callable[[Services, str], None], wish: str) -> Answer:
    def answer(s: Services, request: Request, body: str) -> dict[str, Any]:
        del body
        run_id = request.path_params["run_id"]
        act(s, run_id)
        return {"id": run_id, "requested": wish}

    answer.__doc__ = f"Ask a run to {wish}."
    return answer


ENDPOINTS = (
    Endpoint("GET", "/api/health", "health", show_health),
    Endpoint("GET", "/api/models", "models", list_models),
    Endpoint("GET", "/api/datasets", "data sets", list_datasets),
    Endpoint("GET", "/api/runs", "runs", list_runs),
    Endpoint("POST", "/api/runs", "start a run", start_run, TRAINER, takes_settings=True),
    Endpoint("GET", "/api/runs/{run_id}", "a run", show_run),
    Endpoint("GET", "/api/runs/{run_id}/series", "a run's curves", show_series),
    Endpoint("POST", "/api/runs/{run_id}/stop", "stop a run", _acting(runs.stop, "stop"), TRAINER),
    Endpoint("POST", "/api/runs/{run_id}/pause", "pause a run", _acting(runs.pause, "pause"), TRAINER),
    Endpoint("POST", "/api/runs/{run_id}/resume", "resume a run", _acting(runs.resume, "resume"), TRAINER),
)


def services_of(request: Request) -> Services:
    """Return the services for who asks, as the door knows them."""
    return context.open_services().of(request.state.person)


def _route(endpoint: Endpoint) -> Route:
    async def answer(request: Request) -> Response:
        try:
            s = services_of(request)
            if not s.person.may(endpoint.role):
                raise UserError("role_needed", role=endpoint.role)
            body = await _read_body(request)
            return as_json(await run_in_threadpool(endpoint.answer, s, request, body))
        except UserError as error:
            return tell_error(request, error)

    return Route(endpoint.path, answer, methods=[endpoint.method], name=endpoint.summary)


async def _read_body(request: Request) -> str:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            raise UserError("request_body_too_large", largest_bytes=MOST_BODY_BYTES)
    return body.decode("utf-8", "replace")


def tell_error(request: Request, error: UserError) -> Response:
    """Return an error as code, facts and a sentence in the language that is asked for."""
    lang = accepted_language(request.headers.get("accept-language", ""))
    return as_json(error_record(error, lang), STATUS.get(error.code, 400))


async def bring_model(request: Request) -> Response:
    """Take in a model as `name`: a form with one zip file or the model's files. Answers with the job that looks at it."""
    try:
        s = services_of(request)
        size = request.headers.get("content-length", "")
        asked = request.query_params.get("name", ""), request.headers.get("content-type", ""), int(size[:20]) if size.isdecimal() else 0
        with model_uploads.open_upload(s, *asked) as upload:
            async for piece in _pieces(request):
                await run_in_threadpool(upload.feed, piece)
            job_id = await run_in_threadpool(model_uploads.start, s, upload)
        return as_json({"job": job_id}, 202)
    except UserError as error:
        return tell_error(request, error)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads it


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """Yield the body in pieces that are worth a thread's while."""
    held = bytearray()
    async for chunk in request.stream():
        held += chunk
        if len(held) >= PIECE_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)


async def stream_events(request: Request) -> Response:
    """Answer with a run's events and each change of its status as server-sent events, until it has ended."""
    run_id = request.path_params["run_id"]
    try:
        s = services_of(request)
        folder = await run_in_threadpool(s.store.folder, run_id)
    except UserError as error:
        return tell_error(request, error)
    return StreamingResponse(_events(s, run_id, folder.events), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _events(s: Services, run_id: str, path: Path) -> AsyncIterator[bytes]:
    tail, told = LineTail(path), ""
    while True:
        status = (await run_in_threadpool(s.store.get, run_id)).status
        for event in await run_in_threadpool(lambda: list(tail.read_new())):
            yield _event(str(event.get("kind", "event")), event)
        if status != told:
            told = status
            yield _event("status", {"status": status})
        if status not in ACTIVE:
            return
        await asyncio.sleep(LOOK_SECONDS)


def _event(kind: str, content: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(content) + b"\n\n"


def describe_api() -> dict[str, Any]:
    """Return the description of the API (OpenAPI 3.1)."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _describe(endpoint)
    events = Endpoint("GET", "/api/runs/{run_id}/events", "a run's events", show_run)
    paths[events.path] = {"get": _describe(events) | {"description": stream_events.__doc__}}
    paths["/api/models"]["post"] = _describe_upload()
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tunesmith", "version": __version__},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}],
        "paths": paths,
    }


def _describe(endpoint: Endpoint) -> dict[str, Any]:
    told: dict[str, Any] = {
        "summary": endpoint.summary, "description": endpoint.answer.__doc__, "x-role": endpoint.role,
        "responses": {"200": {"description": "JSON"}, "4XX": {"description": "`error`: code, facts, message"}},
    }  # fmt: skip
    if "{run_id}" in endpoint.path:
        told["parameters"] = [{"name": "run_id", "in": "path", "required": True, "schema": {"type": "string"}}]
    if endpoint.takes_settings:
        told["requestBody"] = {"content": {"application/yaml": {"schema": {"type": "string"}}}, "required": True}
    return told


def _describe_upload() -> dict[str, Any]:
    files = {"type": "object", "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}}}
    return {
        "summary": "bring a model", "description": bring_model.__doc__, "x-role": TRAINER,
        "parameters": [{"name": "name", "in": "query", "required": True, "schema": {"type": "string"}}],
        "requestBody": {"content": {"multipart/form-data": {"schema": files}}, "required": True},
        "responses": {"202": {"description": "JSON"}, "4XX": {"description": "`error`: code, facts, message"}},
    }  # fmt: skip


async def show_description(request: Request) -> Response:
    """Answer with the API's description."""
    del request
    return as_json(describe_api())


async def tell_unknown(request: Request) -> Response:
    """Answer what asks for an address that there is not: else it would get a page."""
    return tell_error(request, UserError("address_unknown", method=request.method, path=request.url.path[:200]))


ROUTES = [
    *(_route(endpoint) for endpoint in ENDPOINTS),
    Route("/api/models", bring_model, methods=["POST"]),
    Route("/api/runs/{run_id}/events", stream_events),
    Route("/api/openapi.json", show_description),
    Route("/api/{rest:path}", tell_unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
]
