"""The door as ASGI: what is let in and what is not, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tunesmith.access.codes import AccessFile, make_code
from tunesmith.access.gate import Door, Gate
from tunesmith.access.people import ADMIN, TRAINER, VIEWER, Person
from tunesmith.ui.login_page import refuse

NAMES = frozenset({"127.0.0.1", "localhost", "::1", "studio.local", "192.168.1.7"})
SAME = {"host": "studio.local:8501", "origin": "http://studio.local:8501"}


def ask(
    door: Door, headers: dict[str, str] | list[tuple[str, str]], kind: str = "http", method: str = "GET", path: str = "/",
    client: str = "192.168.1.20",
) -> tuple[int, Person | None]:  # fmt: skip
    """Return the answer's status (a refused websocket's close code) and whom the app was told of."""
    told: list[Person | None] = []
    sent: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        told.append(scope["state"]["person"])
        await send(
            {"type": "http.response.start", "status": 200, "headers": []} if scope["type"] == "http" else {"type": "websocket.accept"}
        )

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect" if kind == "websocket" else "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = headers.items() if isinstance(headers, dict) else headers
    raw = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    scope = {"type": kind, "method": method, "path": path, "headers": raw, "client": (client, 5000), "query_string": b""}
    asyncio.run(Gate(app, door, refuse)(scope, receive, send))
    first = sent[0]
    status = {"http.response.start": first.get("status"), "websocket.accept": 101, "websocket.close": first.get("code")}[first["type"]]
    return int(status), told[0] if told else None


@pytest.fixture
def shut(tmp_path: Path) -> Door:
    return Door(AccessFile(tmp_path / "secrets"))


@pytest.fixture
def shared(tmp_path: Path) -> Door:
    return Door(AccessFile(tmp_path / "secrets"), NAMES)


@pytest.fixture
def cookie(shared: Door) -> Callable[[str], str]:
    return lambda role: f"{shared.cookie}={shared.sessions().issue(Person('Ada', role))}"


HERE = {"host": "127.0.0.1:8501"}
HERE_SAME = {"host": "127.0.0.1:8501", "origin": "http://127.0.0.1:8501"}


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        (HERE, {}),
        ({"host": "localhost:8501"}, {}),
        ({"host": "LOCALHOST"}, {}),
        ({"host": "localhost.:8501"}, {}),
        ({"host": "[::1]:8501"}, {"client": "::1"}),
        (HERE_SAME, {"kind": "websocket"}),
        (HERE_SAME, {"method": "POST"}),
        (HERE_SAME, {"method": "PUT", "path": "/_stcore/upload_file/a/b"}),
        ({**HERE, "sec-fetch-site": "same-origin"}, {"method": "POST"}),
        ({**HERE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, {}),
        ({**HERE, "sec-fetch-site": "same-origin", "sec-fetch-mode": "no-cors"}, {"path": "/media/x.png"}),
        (HERE, {"client": "::ffff:127.0.0.1"}),
    ],
)
def test_the_shut_door_lets_this_computer_in_as_an_admin(shut: Door, headers: dict[str, str], more: dict[str, Any]) -> None:
    status, person = ask(shut, headers, **{"client": "127.0.0.1", **more})
    assert status in {200, 101}
    assert person is not None
    assert person.role == ADMIN


@pytest.mark.parametrize(
    ("headers", "more", "status"),
    [
        (HERE, {"client": "192.168.1.20"}, 403),
        (HERE, {"client": "fe80::1%eth0"}, 403),
        ({"host": "evil.example"}, {}, 400),
        ({"host": "127.0.0.1.evil.example:8501"}, {}, 400),
        ({"host": "127.0.0.1@evil.example"}, {}, 400),
        ({"host": "127.0.0.1:8501x"}, {}, 400),
        ({"host": "127.0.0.1:99999"}, {}, 400),
        ({"host": "[::1"}, {}, 400),
        ({"host": "[::1]8501"}, {}, 400),
        ({"host": ""}, {}, 400),
        ({}, {}, 400),
        ([("host", "127.0.0.1:8501"), ("host", "evil.example")], {}, 400),
        ({"host": "0x7f000001"}, {}, 400),
        ({"host": "2130706433"}, {}, 400),
        ({"host": "127.1"}, {}, 400),
        ({"host": "ｌocalhost".encode().decode("latin-1")}, {}, 400),
        ({**HERE, "origin": "http://evil.example"}, {}, 403),
        ({**HERE, "origin": "null"}, {}, 403),
        ({**HERE, "origin": "http://127.0.0.1:9999"}, {}, 403),
        ({**HERE, "origin": "http://localhost:8501"}, {}, 403),
        ({**HERE, "origin": "http://127.0.0.1:8501.evil.example"}, {}, 403),
        ({**HERE, "origin": "file://"}, {}, 403),
        ([("host", "127.0.0.1:8501"), ("origin", "http://127.0.0.1:8501"), ("origin", "http://evil.example")], {}, 403),
        (HERE, {"kind": "websocket"}, 4403),
        ({**HERE, "origin": "http://evil.example"}, {"kind": "websocket"}, 4403),
        ({"host": "evil.example", "origin": "http://evil.example"}, {"kind": "websocket"}, 4403),
        (HERE, {"method": "POST"}, 403),
        (HERE, {"method": "DELETE"}, 403),
        ({**HERE, "sec-fetch-site": "cross-site"}, {"method": "POST"}, 403),
        ({**HERE, "sec-fetch-site": "none"}, {"method": "PUT"}, 403),
        ({**HERE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, {"path": "/media/x.png"}, 403),
        ({**HERE, "sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, {"path": "/api/runs"}, 403),
        ({**HERE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, {}, 403),
    ],
)
def test_the_shut_door_keeps_out(shut: Door, headers: Any, more: dict[str, Any], status: int) -> None:
    assert ask(shut, headers, **{"client": "127.0.0.1", **more}) == (status, None)


@pytest.mark.parametrize(
    ("more", "status"),
    [({"path": "/"}, 401), ({"path": "/", "html": True}, 303), ({"kind": "websocket", "path": "/_stcore/stream"}, 4401),
     ({"path": "/media/x.png"}, 401), ({"path": "/api/runs/x/series"}, 401), ({"method": "PUT", "path": "/_stcore/upload_file/a/b"}, 401),
     ({"path": "/login/../api/runs"}, 401), ({"path": "//login"}, 401), ({"path": "/LOGIN"}, 401), ({"path": "/_stcore/health"}, 401),
     ({"path": "/favicon.ico/"}, 401), ({"path": "/manifest.json"}, 401)],
)  # fmt: skip
def test_the_open_door_asks_strangers_for_a_code(shared: Door, more: dict[str, Any], status: int) -> None:
    headers = SAME | ({"accept": "text/html"} if more.pop("html", False) else {})
    assert ask(shared, headers, **more) == (status, None)


@pytest.mark.parametrize("path", ["/login", "/health", "/favicon.ico", "/favicon.png"])
def test_the_open_door_shows_everybody_where_to_enter(shared: Door, path: str) -> None:
    assert ask(shared, SAME, path=path) == (200, None)


def test_the_open_door_knows_who_came_in(shared: Door, cookie: Callable[[str], str]) -> None:
    for kind in ("http", "websocket"):
        status, person = ask(shared, SAME | {"cookie": cookie(VIEWER)}, kind=kind)
        assert status in {200, 101}
        assert person == Person("Ada", VIEWER)


@pytest.mark.parametrize("other", ['prefs={"theme":"dark"}', "name=太郎", "a[]=1", "bare", "x=1; ; =2", 'quoted="a\\"b"'])
@pytest.mark.parametrize("form", ["{other}; {own}", "{own}; {other}"])
def test_cookies_of_other_apps_on_this_host_do_no_harm(shared: Door, cookie: Callable[[str], str], form: str, other: str) -> None:
    assert shared.person(form.format(other=other, own=cookie(VIEWER))) == Person("Ada", VIEWER)


def test_this_computer_itself_needs_the_code_too(shared: Door) -> None:
    assert ask(shared, HERE, client="127.0.0.1")[0] == 401


def test_a_viewer_uploads_nothing(shared: Door, cookie: Callable[[str], str]) -> None:
    upload = {"method": "PUT", "path": "/_stcore/upload_file/a/b"}
    assert ask(shared, SAME | {"cookie": cookie(VIEWER)}, **upload) == (403, None)
    assert ask(shared, SAME | {"cookie": cookie(TRAINER)}, **upload)[0] == 200


@pytest.mark.parametrize("spoil", [lambda note: note[:-1], lambda note: note + "x", lambda _: "", lambda _: "WyJBZGEiLCJhZG1pbiJd.x.y"])
def test_a_changed_note_is_nobody_s(shared: Door, cookie: Callable[[str], str], spoil: Callable[[str], str]) -> None:
    name, _, note = cookie(ADMIN).partition("=")
    assert ask(shared, SAME | {"cookie": f"{name}={spoil(note)}"})[0] == 401


def test_a_note_of_another_server_or_port_is_nobody_s(shared: Door, tmp_path: Path) -> None:
    other = Door(AccessFile(tmp_path / "other"), NAMES)
    assert ask(shared, SAME | {"cookie": f"{shared.cookie}={other.sessions().issue(Person('Ada', ADMIN))}"})[0] == 401
    assert (
        ask(Door(shared._file, NAMES, 8502), SAME | {"cookie": f"{shared.cookie}={shared.sessions().issue(Person('Ada', ADMIN))}"})[0]
        == 401
    )


def test_a_renewed_code_ends_every_session(shared: Door, cookie: Callable[[str], str], tmp_path: Path) -> None:
    came_in = cookie(ADMIN)
    AccessFile(tmp_path / "secrets").choose(VIEWER, make_code())
    assert ask(shared, SAME | {"cookie": came_in})[0] == 401


def test_another_name_or_origin_is_kept_out_even_with_a_cookie(shared: Door, cookie: Callable[[str], str]) -> None:
    own = {"cookie": cookie(ADMIN)}
    assert ask(shared, {"host": "evil.example", **own})[0] == 400
    assert ask(shared, {**SAME, "origin": "http://evil.example", **own}, kind="websocket")[0] == 4403
    assert ask(shared, {"host": SAME["host"], **own}, method="POST")[0] == 403
