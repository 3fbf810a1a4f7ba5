"""The door: every request of pages, websocket, uploads, media and API passes here before anything else sees it. Knows no words.

Shut (the default), only this computer comes in. Open to the network, a code is asked for once; then a signed cookie tells who it is.
In both, Host must be a name of this computer (a renamed address is not) and Origin this very address (another site's page is not).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tunesmith.access.codes import AccessCodes, AccessFile
from tunesmith.access.people import TRAINER, Person, owner_of_this_computer
from tunesmith.access.provider import Provider, ProviderFile
from tunesmith.access.sessions import SESSION_SECONDS, Sessions
from tunesmith.access.sign_in import CALLBACK, START
from tunesmith.access.visits import Visits
from tunesmith.errors import UserError
from tunesmith.system.hosts import LOOPBACK_NAMES, host_of
from tunesmith.system.network import is_loopback

LOGIN, LOGOUT, HEALTH = "/login", "/logout", "/health"
ICONS = ("/favicon.ico", "/favicon.png")  # browsers ask for one at the door already
OPEN_PATHS = frozenset({LOGIN, HEALTH, START, CALLBACK, *ICONS})
UPLOADS, API = "/_stcore/upload_file", "/api/"
_SAFE_METHODS = {"GET", "HEAD"}
Refuse = Callable[[Scope, int, UserError], Response]
Note = Callable[[Person | None, str, Mapping[str, str]], None]  # who, what, with which facts


def _note_nothing(person: Person | None, action: str, facts: Mapping[str, str]) -> None:
    del person, action, facts


class Door:
    """Whether the network may knock, under which names, and who has come in."""

    def __init__(self, file: AccessFile, names: frozenset[str] | None = None, port: int = 0, note: Note = _note_nothing) -> None:
        """`names` by which the network calls this computer; without any, the door stays shut. `note` is told who came and went."""
        self.open_to_network = names is not None
        self.names = LOOPBACK_NAMES if names is None else names
        self.cookie = f"tunesmith_{port}" if port else "tunesmith"  # cookies do not tell ports apart
        self.visits, self.note = Visits(), note
        self._file = file
        self._provider_file = ProviderFile(file.path.parent)
        self._known: tuple[tuple[int, int], AccessCodes] | None = None
        self._left: dict[str, float] = {}  # what the notes of those who left say, and when they did

    def codes(self) -> AccessCodes:
        """Return the codes as they are now. Raises UserError `secrets_readable_by_others`, `store_file_unreadable`."""
        stamp = _stamp(self._file.path)
        if self._known is None or self._known[0] != stamp:
            codes = self._file.open()
            self._known = (_stamp(self._file.path), codes)
        return self._known[1]

    def provider(self) -> Provider | None:
        """Return who vouches for people, None where nobody does. Raises UserError `secrets_readable_by_others`, `store_file_unreadable`."""
        return self._provider_file.open() if self.open_to_network else None

    def sessions(self) -> Sessions:
        """Return what issues and reads the notes in cookies."""
        return Sessions(self.codes().key)

    def person(self, cookies: str) -> Person | None:
        """Return who a Cookie header says that it is; at the shut door, whoever works at this computer."""
        if not self.open_to_network:
            return owner_of_this_computer()
        note = self._cookie_in(cookies)
        return self.sessions().read(note) if note and _said_in(note) not in self._left else None

    def leave(self, cookies: str) -> Person | None:
        """Make the note of a Cookie header worthless, in every tab that is open with it; return whose it was."""
        who = self.person(cookies)
        if who and self.open_to_network:
            oldest = time.monotonic() - SESSION_SECONDS
            self._left = {note: at for note, at in self._left.items() if at > oldest}
            self._left[_said_in(self._cookie_in(cookies))] = time.monotonic()
        return who

    def _cookie_in(self, cookies: str) -> str:
        return cookie_parser(cookies).get(self.cookie, "")  # cookies of other apps on this host may be of any form


def _said_in(note: str) -> str:
    """Return a note without its signature, of which there are several spellings."""
    return note.rpartition(".")[0]


def token_of(scope: Scope, headers: Headers) -> str:
    """Return a program's token, nothing where there is none: only the API takes one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and scope["path"].startswith(API) else ""


def inner_address(text: str) -> str:
    """Return an address of this server as somebody wants it after entering; the first page for any that leads elsewhere."""
    plain = text.startswith("/") and text[1:2] not in {"/", "\\"} and text.isprintable()
    return text if plain and text.partition("?")[0] not in {LOGIN, LOGOUT, START, CALLBACK} else "/"


def _stamp(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (state.st_mtime_ns, state.st_ino)


@dataclass
class Gate:
    """ASGI middleware. `refuse` words a refusal for whoever asked."""

    app: ASGIApp
    door: Door
    refuse: Refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with who asks in `scope["state"]["person"]`, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        person = None
        try:
            check_place(scope, headers, self.door)
            person = self._admit(scope, headers)
        except UserError as error:
            await self._answer(scope, receive, send, headers, error)
            return
        known = {**scope, "headers": _with_checked_origin(scope), "state": {**scope.get("state", {}), "person": person}}
        with self.door.visits.tab(person) if person and scope["type"] == "websocket" else nullcontext():
            await self.app(known, receive, send)

    def _admit(self, scope: Scope, headers: Headers) -> Person | None:
        """Return who asks, None at a path that is open to all. Raises UserError `token_unknown`, `code_needed`, `role_needed`."""
        token = token_of(scope, headers)
        person = self.door.codes().program(token) if token else self.door.person(headers.get("cookie", ""))
        if person is None and scope["path"] not in OPEN_PATHS:
            raise UserError("token_unknown" if token else "code_needed")
        if person and scope["path"].startswith(UPLOADS) and not person.may(TRAINER):
            raise UserError("role_needed", role=TRAINER)
        if person and self.door.visits.see(person, program=bool(token)) and token:
            self.door.note(person, "door.program", {})
        return person

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: Headers, error: UserError) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401 if error.code == "code_needed" else 4403})
            return
        if error.code == "code_needed" and scope["method"] == "GET" and _is_visit(headers):
            wanted = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
            await RedirectResponse(LOGIN if wanted == "/" else f"{LOGIN}?next={quote(wanted, safe='')}", 303)(scope, receive, send)
            return
        status = {"code_needed": 401, "token_unknown": 401, "host_not_ours": 400}.get(error.code, 403)
        await self.refuse(scope, status, error)(scope, receive, send)


def _with_checked_origin(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the headers with an origin that Streamlit takes for its own: of a name that it does not know it asks a server outside."""
    return [(name, b"http://localhost" if name == b"origin" else value) for name, value in scope["headers"]]


def check_place(scope: Scope, headers: Headers, door: Door) -> None:
    """Refuse what comes from elsewhere than it should.

    Raises UserError `client_not_here`, `host_not_ours`, `origin_not_ours`.
    """
    client = scope.get("client")
    if not door.open_to_network and client and not is_loopback(client[0]):
        raise UserError("client_not_here")
    hosts = headers.getlist("host")
    host = host_of(hosts[0]) if len(hosts) == 1 else None
    if host not in door.names:
        raise UserError("host_not_ours", host=", ".join(hosts)[:100] or "-")
    origins = headers.getlist("origin")
    if origins and (len(origins) > 1 or not _is_same_place(origins[0], hosts[0])):
        raise UserError("origin_not_ours", origin=", ".join(origins)[:100])
    if not origins and not token_of(scope, headers) and _needs_origin(scope, headers):
        raise UserError("origin_not_ours", origin="-")


def _is_same_place(origin: str, host: str) -> bool:
    scheme, _, place = origin.strip().lower().partition("://")
    return scheme in {"http", "https"} and place == host.strip().lower()


def _needs_origin(scope: Scope, headers: Headers) -> bool:
    """Whether a request could be another site's doing: a websocket, a change, or a part of another site's page."""
    if scope["type"] == "websocket":
        return True
    site = headers.get("sec-fetch-site", "same-origin")
    if scope["method"] not in _SAFE_METHODS:
        return "sec-fetch-site" not in headers or site != "same-origin"
    return site in {"cross-site", "same-site"} and not _is_visit(headers)


def _is_visit(headers: Headers) -> bool:
    """Whether somebody opens a page, as browsers tell it; of others, whether they want one."""
    if "sec-fetch-mode" in headers:
        return headers["sec-fetch-mode"] == "navigate" and headers.get("sec-fetch-dest", "document") == "document"
    return "text/html" in headers.get("accept", "")
