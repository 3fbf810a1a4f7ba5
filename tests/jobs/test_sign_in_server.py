"""Signing in at a real server that is open to the network, by a provider that is another site."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import requests

from tests.e2e.conftest import Server
from tests.oidc_double import CLIENT, SECRET, OidcDouble, oidc_double
from tests.shared_server import shared_server
from tunesmith.access.codes import AccessFile
from tunesmith.access.people import TRAINER, VIEWER
from tunesmith.access.provider import Provider, ProviderFile
from tunesmith.store.audit import AuditLog

START = "/login/oidc"


@pytest.fixture(scope="module")
def double() -> Iterator[OidcDouble]:
    with oidc_double("localhost") as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, AccessFile]]:
    with shared_server(tmp_path_factory.mktemp("signing")) as opened:
        yield opened


@pytest.fixture
def signing(shared: tuple[Server, AccessFile], double: OidcDouble) -> tuple[Server, ProviderFile]:
    server, codes = shared
    file = ProviderFile(codes.path.parent)
    file.keep(Provider(double.issuer, CLIENT, SECRET, server.address, {"@lab.example": TRAINER}))
    double.user, double.spoil, double.sign = {"sub": "1", "email": "ada@lab.example", "email_verified": True}, id, None
    return server, file


def ask(address: str, cookies: dict[str, str] | None = None, **more: Any) -> requests.Response:
    headers = {"accept": "text/html", "cookie": "; ".join(f"{name}={value}" for name, value in (cookies or {}).items())}
    return requests.get(address, headers=headers | more, allow_redirects=False, timeout=20)


def given(answer: requests.Response) -> dict[str, Any]:
    """Return the cookies of one answer with their attributes, deleted ones with an empty value."""
    found: dict[str, Any] = {}
    for line in answer.raw.headers.getlist("set-cookie"):
        found |= SimpleCookie(line)
    return found


def begin(server: Server, query: str = "") -> tuple[str, dict[str, str]]:
    """Go to the provider and return the address that it sends the browser back to, and what the browser keeps."""
    answer = ask(server.address + START + query)
    assert answer.status_code == 303, answer.text
    ((name, kept),) = given(answer).items()
    assert (kept["samesite"].lower(), kept["httponly"], kept["path"]) == ("lax", True, START)
    return ask(answer.headers["location"]).headers["location"], {name: kept.value}


@pytest.mark.timeout(120)
def test_a_person_signs_in_is_known_and_leaves(signing: tuple[Server, ProviderFile], double: OidcDouble) -> None:
    server, _ = signing
    page = ask(server.address + "/login?next=%2Fexperiments")
    assert f'href="{START}?next=%2Fexperiments"' in page.text
    assert 'name="code"' in page.text
    back, taken = begin(server, "?next=%2Fexperiments")
    answer = ask(back, taken, **{"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"})
    assert answer.status_code == 200  # a page that goes on, for a redirection from another site carries no strict cookie
    assert "url=/experiments" in answer.text
    cookie = given(answer)[f"tunesmith_{server.port}"]
    assert (cookie["samesite"].lower(), cookie["httponly"]) == ("strict", True)
    assert given(answer)[next(iter(taken))].value == ""
    inside = {f"tunesmith_{server.port}": cookie.value}
    assert ask(server.address + "/", inside).status_code == 200
    assert given(ask(server.address + "/logout", inside))[f"tunesmith_{server.port}"].value == ""
    lines = [(line["action"], line["person"], line["role"]) for line in AuditLog(server.data_dir).last(2)]
    assert lines == [("door.leave", "ada@lab.example", TRAINER), ("door.enter", "ada@lab.example", TRAINER)]
    assert ask(back, taken).status_code == 403  # the same answer of the provider once more


@pytest.mark.timeout(120)
def test_whoever_has_no_role_or_no_valid_token_stays_outside(signing: tuple[Server, ProviderFile], double: OidcDouble) -> None:
    server, file = signing
    double.user = {"sub": "2", "email": "eve@else.example", "email_verified": True}
    refused = ask(*begin(server))
    assert refused.status_code == 403
    assert "eve@else.example" in refused.text
    assert f"tunesmith_{server.port}" not in given(refused)
    assert AuditLog(server.data_dir).last(1)[0]["facts"]["email"] == "eve@else.example"
    known = file.open()
    assert known
    file.keep(replace(known, default_role=VIEWER))
    assert f"tunesmith_{server.port}" in given(ask(*begin(server)))
    double.sign = double.unsigned
    refused = ask(*begin(server))
    assert (refused.status_code, f"tunesmith_{server.port}" in given(refused)) == (403, False)


@pytest.mark.timeout(120)
def test_the_way_back_is_of_the_browser_that_began(signing: tuple[Server, ProviderFile]) -> None:
    server, _ = signing
    back, taken = begin(server)
    other = begin(server)[1]
    for cookies in ({}, other):
        refused = ask(back, cookies)
        assert (refused.status_code, f"tunesmith_{server.port}" in given(refused)) == (403, False)
    elsewhere = ask(f"http://localhost:{server.port}{START}?next=%2Fdataset")  # another name than the registered one
    assert elsewhere.headers["location"] == f"{server.address}{START}?next=%2Fdataset"
    assert urlparse(begin(server, "?next=//evil.example")[0]).hostname == "127.0.0.1"
    back, taken = begin(server, "?next=//evil.example")
    assert 'url=/"' in ask(back, taken).text


@pytest.mark.timeout(120)
def test_codes_give_way_where_an_admin_says_so(signing: tuple[Server, ProviderFile], shared: tuple[Server, AccessFile]) -> None:
    server, file = signing
    codes = shared[1].open().codes

    def enter(name: str) -> requests.Response:
        form = {"name": name, "code": codes[TRAINER]}
        return requests.post(f"{server.address}/login", form, headers={"origin": server.address}, allow_redirects=False, timeout=20)

    assert enter("Ada").status_code == 303
    assert enter("ada@lab.example").status_code == 400  # a name that only the provider gives
    known = file.open()
    assert known
    file.keep(replace(known, codes=False))
    assert enter("Ada").status_code == 400
    assert 'name="code"' not in ask(server.address + "/login").text
    file.remove()
    assert ask(server.address + START).headers["location"] == "/login"
    assert enter("ada@lab.example").status_code == 303


@pytest.mark.timeout(60)
def test_the_secret_stays_in_its_file(signing: tuple[Server, ProviderFile]) -> None:
    server, file = signing
    begin(server)
    files: list[Path] = [path for path in server.data_dir.parent.rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == [file.path]
