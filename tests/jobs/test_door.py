"""The door of a real server: pages, websocket, uploads, media and API, by every way in that is not one."""

from __future__ import annotations

import http.client
import itertools
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import orjson
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.e2e.conftest import Server
from tests.shared_server import shared_server
from tunesmith.access.codes import AccessFile
from tunesmith.access.gate import Door
from tunesmith.access.people import TRAINER, Person
from tunesmith.access.sessions import Sessions
from tunesmith.store.audit import AuditLog

REFUSALS = {"code_needed", "token_unknown", "host_not_ours", "origin_not_ours", "client_not_here", "role_needed"}
SOCKET = "/_stcore/stream"
OPEN = (("GET", "/health"), ("GET", "/login"), ("GET", "/favicon.ico"))
CLOSED = (
    ("GET", "/"), ("GET", "/experiments"), ("GET", "/_stcore/health"), ("GET", "/_stcore/host-config"), ("GET", "/media/picture.png"),
    ("GET", "/api/runs/none/series"), ("GET", "/live/runs/none"), ("GET", "/live/runs/none/figures"),
    ("GET", "/live/queue"), ("GET", "/assets/plotly.min.js"),
    ("PUT", "/_stcore/upload_file/session/file"), ("DELETE", "/_stcore/upload_file/session/file"), ("WEBSOCKET", SOCKET),
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, AccessFile]]:
    with shared_server(tmp_path_factory.mktemp("shared")) as opened:
        yield opened


def ask(port: int, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
    """Send one request with exactly these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def passes(port: int, method: str, path: str, headers: dict[str, str]) -> bool:
    """Whether the door lets a request through to whatever is behind it."""
    if method != "WEBSOCKET":
        status, told, content = ask(port, method, path, headers, b"" if method == "PUT" else None)
        if status == 401:
            return False
        refused = told.get("content-type") == "application/json" and status >= 400
        code = orjson.loads(content).get("error", {}).get("code") if refused else ""
        return code not in REFUSALS and told.get("location") != "/login"
    more = [(name, value) for name, value in headers.items() if name == "cookie"]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as channel:
        try:
            with connect(f"ws://{headers['host']}{path}", sock=channel, origin=headers.get("origin"), additional_headers=more):  # type: ignore[arg-type]
                return True
        except InvalidStatus as error:
            assert error.response.status_code == 403  # noqa: PT017
            return False


def headers_of(condition: str, port: int, cookie: str) -> dict[str, str]:
    own = f"127.0.0.1:{port}"
    good = {"host": own, "origin": f"http://{own}", "cookie": cookie, "accept": "*/*"}
    forged = f"{cookie.partition('=')[0]}={Sessions('0' * 64).issue(Person('Eve', TRAINER))}"
    return {
        "entered": good, "a stranger": {k: v for k, v in good.items() if k != "cookie"}, "forged": good | {"cookie": forged},
        "another site": good | {"origin": "http://evil.example"}, "renamed": good | {"host": f"evil.example:{port}"},
        "rebound": good | {"host": f"evil.example:{port}", "origin": f"http://evil.example:{port}"},
        "a frame": good | {"origin": "null"},
    }[condition]  # fmt: skip


CONDITIONS = ("entered", "a stranger", "forged", "another site", "renamed", "rebound", "a frame")


@pytest.mark.timeout(120)
def test_only_those_who_entered_come_through(shared: tuple[Server, AccessFile]) -> None:
    server, file = shared
    door = Door(file, port=server.port)
    cookie = f"{door.cookie}={door.sessions().issue(Person('Ada', TRAINER))}"
    wrong, asked = [], 0
    for condition, (method, path) in itertools.product(CONDITIONS, (*CLOSED, *OPEN)):
        expected = condition == "entered" or (condition in {"a stranger", "forged"} and (method, path) in OPEN)
        asked += 1
        if passes(server.port, method, path, headers_of(condition, server.port, cookie)) != expected:
            wrong.append((condition, method, path))
    assert asked == 112
    assert wrong == []


@pytest.mark.timeout(120)
def test_the_code_opens_and_the_page_says_who_may_what(shared: tuple[Server, AccessFile]) -> None:
    server, file = shared
    own = f"127.0.0.1:{server.port}"
    headers = {"host": own, "origin": f"http://{own}", "content-type": "application/x-www-form-urlencoded", "accept": "text/html"}

    def enter(name: str, code: str, path: str = "/login") -> tuple[int, dict[str, str], bytes]:
        return ask(server.port, "POST", path, headers, urlencode({"name": name, "code": code}).encode())

    code = file.open().codes[TRAINER]
    status, told, content = enter("<b>Ada</b>", "wrong")
    assert status == 401
    assert b"<b>Ada" not in content
    assert "set-cookie" not in told
    status, told, _ = enter("Ada", code.upper().replace("-", " "), "/login?next=%2Fexperiments")
    assert (status, told["location"]) == (303, "/experiments")
    assert re.search(r"httponly", told["set-cookie"], re.IGNORECASE)
    assert re.search(r"samesite=strict", told["set-cookie"], re.IGNORECASE)
    assert code not in told["set-cookie"]
    cookie = told["set-cookie"].partition(";")[0]
    assert ask(server.port, "GET", "/", {"host": own, "cookie": cookie, "accept": "text/html"})[0] == 200
    for elsewhere in ("//evil.example", "/\\evil.example", "http://evil.example", "javascript:alert(1)", "/\tevil"):
        assert enter("Ada", code, f"/login?{urlencode({'next': elsewhere})}")[1]["location"] == "/"
    assert (
        ask(server.port, "GET", "/experiments?tag=a", {"host": own, "accept": "text/html"})[1]["location"]
        == "/login?next=%2Fexperiments%3Ftag%3Da"
    )


@pytest.mark.timeout(60)
def test_who_comes_goes_and_is_kept_out_is_noted(shared: tuple[Server, AccessFile]) -> None:
    server, file = shared
    own = f"127.0.0.1:{server.port}"
    log, door = AuditLog(server.data_dir), Door(file, port=server.port)
    headers = {"host": own, "origin": f"http://{own}", "content-type": "application/x-www-form-urlencoded"}
    before = len(log.last(1000))
    ask(server.port, "POST", "/login", headers, urlencode({"name": "Eve", "code": "open sesame now"}).encode())
    cookie = f"{door.cookie}={door.sessions().issue(Person('Ada', TRAINER))}"
    ask(server.port, "GET", "/logout", {"host": own, "cookie": cookie})
    token = file.add_token(Person("CI", TRAINER))
    for _ in range(3):
        assert ask(server.port, "GET", "/api/health", {"host": own, "authorization": f"Bearer {token}"})[0] == 200
    lines = log.last(1000)[: len(log.last(1000)) - before]
    assert [(line["action"], line["person"], line["role"]) for line in lines] == [
        ("door.program", "CI", TRAINER), ("door.leave", "Ada", TRAINER), ("door.refused", "", ""),
    ]  # fmt: skip
    assert lines[-1]["facts"]["name"] == "Eve"
    assert "sesame" not in str(lines)
    assert token not in str(lines)


@pytest.mark.timeout(120)
def test_guessing_is_stopped(shared: tuple[Server, AccessFile]) -> None:
    server, file = shared
    own = f"127.0.0.1:{server.port}"
    headers = {"host": own, "origin": f"http://{own}", "content-type": "application/x-www-form-urlencoded"}
    statuses = [ask(server.port, "POST", "/login", headers, urlencode({"name": "Eve", "code": f"guess {n}"}).encode())[0] for n in range(7)]
    assert statuses[-1] == 429
    right = urlencode({"name": "Ada", "code": file.open().codes[TRAINER]}).encode()
    status, told, _ = ask(server.port, "POST", "/login", headers, right)
    assert status == 429
    assert 0 < int(told["retry-after"]) <= 60


@pytest.mark.timeout(60)
def test_the_code_is_in_no_log_and_not_in_the_data(shared: tuple[Server, AccessFile]) -> None:
    server, file = shared
    codes = [code.encode() for code in file.open().codes.values()]
    files: list[Path] = [path for path in server.data_dir.parent.rglob("*") if path.is_file() and path != file.path]
    assert files
    assert [path for path in files if any(code in path.read_bytes() for code in codes)] == []
