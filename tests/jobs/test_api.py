"""The API of a real server, asked as a program asks it: by token, each role for itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import yaml

from tests.e2e.conftest import Server
from tests.jobs.test_door import ask
from tests.shared_server import shared_server
from tunesmith.access.codes import AccessFile
from tunesmith.access.people import ROLES, TRAINER, VIEWER, Person
from tunesmith.api import ENDPOINTS, ROUTES, describe_api

SETTINGS = {
    "model": "demo",
    "data": "company_facts",
    "iters": 4,
    "steps_per_report": 1,
    "max_seq_length": 64,
    "batch_size": 2,
    "save_every": 2,
}
Api = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, AccessFile]]:
    with shared_server(tmp_path_factory.mktemp("api")) as opened:
        yield opened


@pytest.fixture(scope="module")
def api(shared: tuple[Server, AccessFile]) -> Api:
    server, file = shared
    tokens = {role: file.add_token(Person(f"a {role}", role)) for role in ROLES} | {"": ""}

    def call(method: str, path: str, role: str = VIEWER, body: str | None = None, **headers: str) -> tuple[int, Any]:
        given = {"host": f"127.0.0.1:{server.port}", "authorization": f"Bearer {tokens.get(role, role)}", **headers}
        status, told, content = ask(server.port, method, path, given, body.encode() if body is not None else None)
        return status, orjson.loads(content) if told.get("content-type", "").startswith("application/json") else content

    return call


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.timeout(120)
def test_a_run_from_start_to_end(api: Api) -> None:
    status, told = api("POST", "/api/runs", TRAINER, yaml.safe_dump(SETTINGS))
    assert (status, list(told)) == (200, ["id"]), told
    run = told["id"]
    status, events = api("GET", f"/api/runs/{run}/events")
    assert status == 200
    kinds = [line.removeprefix("event: ") for line in events.decode().splitlines() if line.startswith("event: ")]
    assert kinds[-1] == "status"
    assert "checkpoint" in kinds or "saved" in kinds, kinds
    assert events.decode().rstrip().endswith('{"status":"completed"}')
    status, state = api("GET", f"/api/runs/{run}")
    assert (status, state["status"], state["step"], state["config"]["iters"]) == (200, "completed", 4, 4)
    series = api("GET", f"/api/runs/{run}/series")[1]
    assert series["train_loss"]["steps"] == [1, 2, 3, 4]
    assert len(series["train_loss"]["values"]) == 4
    assert api("GET", "/api/runs?limit=1")[1][0]["id"] == run
    assert api("GET", "/api/health")[1]["active_runs"] == []


@pytest.mark.timeout(120)
def test_pause_resume_and_stop(api: Api) -> None:
    run = api("POST", "/api/runs", TRAINER, yaml.safe_dump(SETTINGS | {"iters": 5000}))[1]["id"]

    def status() -> str:
        return str(api("GET", f"/api/runs/{run}")[1]["status"])

    wait_until(lambda: status() == "running")
    assert api("POST", f"/api/runs/{run}/pause", TRAINER, "")[0] == 200
    wait_until(lambda: status() == "paused")
    assert api("POST", f"/api/runs/{run}/pause", TRAINER, "")[0] == 409
    assert api("POST", f"/api/runs/{run}/resume", TRAINER, "")[0] == 200
    wait_until(lambda: status() == "running")
    assert api("POST", f"/api/runs/{run}/stop", TRAINER, "")[0] == 200
    wait_until(lambda: status() == "cancelled")


@pytest.mark.timeout(60)
def test_each_role_may_what_it_may_and_no_more(api: Api, shared: tuple[Server, AccessFile]) -> None:
    crossed = []
    for endpoint in ENDPOINTS:
        path = endpoint.path.replace("{run_id}", "no-such-run")
        for role in ROLES:
            status, told = api(endpoint.method, path, role, "iters: [" if endpoint.method == "POST" else None)
            refused = status == 403 and told["error"]["code"] == "role_needed"
            if refused != (ROLES.index(role) < ROLES.index(endpoint.role)):
                crossed.append((endpoint.method, path, role, status, told))
        assert api(endpoint.method, path, "", "" if endpoint.method == "POST" else None)[0] in {401, 403}
        status, told = api(endpoint.method, path, "not-a-token", "" if endpoint.method == "POST" else None)
        assert (status, told["error"]["code"]) == (401, "token_unknown")
    assert crossed == []
    assert shared[0].data_dir.exists()


def test_errors_are_worded_in_both_languages(api: Api) -> None:
    status, told = api("POST", "/api/runs", TRAINER, "learning_rat: 1")
    assert (status, told["error"]["code"]) == (400, "setting_unknown")
    assert "learning_rate" in told["error"]["message"]
    japanese = api("GET", "/api/runs/none", VIEWER, None, **{"accept-language": "ja"})
    assert japanese[0] == 404
    assert any("\u3040" <= c <= "\u30ff" for c in japanese[1]["error"]["message"])
    for wrong in ("x", "-1", "9" * 5000):
        assert api("GET", f"/api/runs?limit={wrong}")[0] == 400
    assert api("POST", "/api/runs", TRAINER, "x" * 1_100_000)[0] == 413
    for method, path in (("GET", "/api/nothing"), ("DELETE", "/api/runs"), ("PUT", "/api/health")):  # not a page of the app
        status, told = api(method, path, TRAINER, "")
        assert (status, told["error"]["code"]) == (404, "address_unknown")
        assert f"{method} {path}" in told["error"]["message"]


def test_a_dropped_token_is_worthless(api: Api, shared: tuple[Server, AccessFile]) -> None:
    token = shared[1].add_token(Person("short-lived", VIEWER))
    assert api("GET", "/api/models", token)[0] == 200
    assert shared[1].drop_tokens("short-lived") == 1
    assert api("GET", "/api/models", token)[0] == 401


def test_the_description_names_every_address(api: Api) -> None:
    told = api("GET", "/api/openapi.json")[1]
    assert told == orjson.loads(orjson.dumps(describe_api()))
    described = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}
    served = {(method, route.path) for route in ROUTES[:-1] for method in (route.methods or ()) if method != "HEAD"}  # the last knows none
    assert described == served - {("GET", "/api/openapi.json")}
