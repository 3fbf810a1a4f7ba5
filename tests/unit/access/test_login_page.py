"""The page at the door: who need not enter again, where one is led afterwards, in which language, and what leaving means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from string import ascii_letters, digits

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from tunesmith.access.attempts import OF_ONE
from tunesmith.access.codes import AccessFile
from tunesmith.access.gate import ICONS, LOGIN, LOGOUT, Door, Gate
from tunesmith.access.people import TRAINER
from tunesmith.i18n.catalog import t
from tunesmith.ui.login_page import LoginPage, refuse
from tunesmith.ui.routes import icon

PLACE = "http://studio.local:8501"
WANTED = "/training?run=a"


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(AccessFile(tmp_path / "secrets"), frozenset({"studio.local"}))


def open_browser(door: Door) -> TestClient:
    """Return a browser in which nobody entered yet; behind the door each page tells who came."""

    async def who(request: Request) -> Response:
        return PlainTextResponse(request.state.person.name)

    routes = [*LoginPage(door).routes, *(Route(path, icon) for path in ICONS), Route("/{page:path}", who)]
    app = Starlette(routes=routes, middleware=[Middleware(Gate, door=door, refuse=refuse)])
    return TestClient(app, PLACE, follow_redirects=False, headers={"accept": "text/html"})


@pytest.fixture
def browser(door: Door) -> Iterator[TestClient]:
    with open_browser(door) as opened:
        yield opened


def enter(browser: TestClient, door: Door, wanted: str = "/") -> str:
    """Enter, and return where the door leads."""
    fields = {"name": "Ada", "code": door.codes().codes[TRAINER]}
    answer = browser.post(LOGIN, params={"next": wanted}, data=fields, headers={"origin": PLACE})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_the_wanted_page_is_reached_after_the_door(browser: TestClient, door: Door) -> None:
    asked = browser.get(WANTED)
    assert asked.headers["location"] == f"{LOGIN}?next=%2Ftraining%3Frun%3Da"
    assert f'action="{asked.headers["location"]}"' in browser.get(asked.headers["location"]).text
    assert enter(browser, door, WANTED) == WANTED
    assert browser.get(WANTED).text == "Ada"


def test_who_has_entered_is_led_on_and_not_asked_again(browser: TestClient, door: Door) -> None:
    """As in a second tab that still shows the door, or by a link on another site: that comes without the strict cookie at first."""
    enter(browser, door)
    assert browser.get(LOGIN, params={"next": WANTED}).headers["location"] == WANTED
    assert browser.get(LOGIN, params={"next": "//evil.example"}).headers["location"] == "/"


def test_leaving_makes_the_cookie_worthless_in_every_tab(browser: TestClient, door: Door) -> None:
    enter(browser, door)
    cookies = f"{door.cookie}={browser.cookies[door.cookie]}"  # as an open tab's connection has sent it
    other = open_browser(door)
    enter(other, door)
    assert door.person(cookies) is not None
    assert browser.get(LOGOUT).headers["location"] == LOGIN
    assert [door.person(cookies[:-1] + letter) for letter in ascii_letters + digits + "-_"] == [None] * 64  # nor in another spelling
    assert browser.get("/", headers={"cookie": cookies}).status_code == 303
    assert other.get("/").text == "Ada"  # the same name in another browser stays


def test_an_open_page_that_looks_for_its_server_is_told_why_it_finds_none(browser: TestClient) -> None:
    answer = browser.get("/_stcore/health", headers={"accept": "*/*", "accept-language": "ja"})
    assert (answer.status_code, answer.json()) == (401, t("error.session_over", "ja"))


def test_a_right_code_between_wrong_ones_buys_no_more_guesses(browser: TestClient, door: Door) -> None:
    statuses = []
    for guess in range(OF_ONE):
        if guess == OF_ONE - 1:
            enter(browser, door)
        statuses.append(browser.post(LOGIN, data={"name": "Eve", "code": f"guess {guess}"}, headers={"origin": PLACE}).status_code)
    statuses.append(browser.post(LOGIN, data={"name": "Eve", "code": "guess"}, headers={"origin": PLACE}).status_code)
    assert statuses == [401] * OF_ONE + [429]


@pytest.mark.parametrize(
    ("headers", "lang"),
    [({"accept-language": "en-US,ja;q=0.8"}, "en"), ({"accept-language": "ja-JP"}, "ja"), ({}, "en"),
     ({"accept-language": "en", "cookie": "tunesmith-language=ja"}, "ja"),
     ({"accept-language": "ja", "cookie": "tunesmith-language=en"}, "en"),
     ({"accept-language": "ja", "cookie": "tunesmith-language=xx"}, "ja")],
)  # fmt: skip
def test_the_door_speaks_the_language_that_was_chosen_in_this_browser(browser: TestClient, headers: dict[str, str], lang: str) -> None:
    page = browser.get(LOGIN, headers=headers).text
    assert f'<html lang="{lang}">' in page
    assert t("login.code_help", lang) in page


@pytest.mark.parametrize("path", ICONS)
def test_the_icon_needs_no_code(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")
