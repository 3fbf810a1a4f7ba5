"""The page that asks for the code or leads to the identity provider, and the words of a refused request: plain HTML, before Streamlit."""

from __future__ import annotations

import html
from pathlib import Path
from string import Template
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from tunesmith.access.attempts import Attempts
from tunesmith.access.gate import LOGIN, LOGOUT, Door, inner_address
from tunesmith.access.people import LONGEST_NAME, Person, clean_name
from tunesmith.access.provider import Provider
from tunesmith.access.sessions import SESSION_SECONDS
from tunesmith.access.sign_in import START
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import error_words, t

MOST_BODY_BYTES = 8_000
PAGE = Template((Path(__file__).parent / "assets" / "door.html").read_text(encoding="utf-8"))
SIGN_IN = Template('<a class="button" href="$address">$words</a>')
FORM = Template("""<p>$intro_words</p><form method="post" action="$action" autocomplete="on">
<label>$name_words<input name="name" maxlength="$longest" required autocomplete="username" value="$name" $name_focus></label>
<label>$code_words<input name="code" type="password" required autocomplete="current-password" $code_focus>
<small>$code_help_words</small></label><button>$enter_words</button></form>""")


def language_of(accept: str) -> str:
    """Return the language of a browser that says what it accepts."""
    return "ja" if accept.strip().lower().startswith("ja") else "en"


def draw_page(lang: str, body: str, status: int = 200) -> HTMLResponse:
    """Return a page of the door around HTML that is ready."""
    return HTMLResponse(PAGE.substitute(lang=lang, body=body), status, headers={"cache-control": "no-store"})


def draw_problem(error: UserError, lang: str) -> str:
    """Return an error as HTML."""
    return f'<p role="alert">{html.escape(error_words(error.code, error.facts, lang))}</p>'


def let_in(door: Door, answer: Response, person: Person, secure: bool) -> None:
    """Give the cookie that says who came in; the browser sends it to this very place alone."""
    note = door.sessions().issue(person)
    answer.set_cookie(door.cookie, note, max_age=SESSION_SECONDS, httponly=True, samesite="strict", secure=secure)


def refuse(scope: Scope, status: int, error: UserError) -> Response:
    """Return a refusal: a page for browsers, a record for programs."""
    headers = {key.decode().lower(): value.decode("latin-1") for key, value in scope["headers"]}
    if "text/html" not in headers.get("accept", ""):
        return JSONResponse(error.as_record(), status)
    lang = language_of(headers.get("accept-language", ""))
    return draw_page(lang, draw_problem(error, lang), status)


class LoginPage:
    """Asks for name and code, and gives the cookie."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.attempts = Attempts()

    @property
    def routes(self) -> list[Route]:
        """Where it answers."""
        return [Route(LOGIN, self._show, methods=["GET"]), Route(LOGIN, self._enter, methods=["POST"]),
                Route(LOGOUT, self._leave, methods=["GET"])]  # fmt: skip

    async def _show(self, request: Request) -> Response:
        if not self._door.open_to_network or self._door.person(request.headers.get("cookie", "")):
            return RedirectResponse("/", 303)
        return self._draw(request, "", None)

    async def _enter(self, request: Request) -> Response:
        if not self._door.open_to_network:
            return RedirectResponse("/", 303)
        address = address_of(request)
        if wait := self.attempts.seconds_to_wait(address):
            told = self._draw(request, "", UserError("code_attempts", seconds=int(wait) + 1), 429)
            told.headers["retry-after"] = str(int(wait) + 1)
            return told
        fields = await _read_form(request)
        try:
            person = self._check(fields, self._door.provider())
        except UserError as error:
            if error.code == "code_wrong":
                self.attempts.note_failure(address)
            self._door.note(None, "door.refused", {"by": "code", "reason": error.code, "name": fields.get("name", ""), "address": address})
            return self._draw(request, fields.get("name", ""), error, 401 if error.code == "code_wrong" else 400)
        self.attempts.forget(address)
        self._door.note(person, "door.enter", {"by": "code", "address": address})
        answer = RedirectResponse(inner_address(request.query_params.get("next", "/")), 303)
        let_in(self._door, answer, person, request.url.scheme == "https")
        return answer

    def _check(self, fields: dict[str, str], provider: Provider | None) -> Person:
        """Return who enters by a code. Raises UserError `code_not_taken`, `code_wrong`, `name_…`."""
        if provider and not provider.codes:
            raise UserError("code_not_taken", provider=provider.name)
        role = self._door.codes().role_of(fields.get("code", ""))
        if role is None:
            raise UserError("code_wrong")
        name = clean_name(fields.get("name", ""))
        if provider and "@" in name:
            raise UserError("name_of_another", provider=provider.name)  # an address is what the provider vouches for
        return Person(name, role)

    async def _leave(self, request: Request) -> Response:
        if person := self._door.person(request.headers.get("cookie", "")):
            self._door.note(person, "door.leave", {})
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(self._door.cookie, httponly=True, samesite="strict")
        return answer

    def _draw(self, request: Request, name: str, error: UserError | None, status: int = 200) -> HTMLResponse:
        lang = language_of(request.headers.get("accept-language", ""))
        wanted = inner_address(request.query_params.get("next", "/"))
        provider = self._door.provider()
        parts = [draw_problem(error, lang)] if error else []
        if provider:
            words = html.escape(t("login.sign_in", lang, provider=provider.name))
            parts.append(SIGN_IN.substitute(address=html.escape(address_with(START, wanted)), words=words))
        if provider is None or provider.codes:
            parts.append(_draw_form(name, wanted, lang, "intro_too" if provider else "intro"))
        return draw_page(lang, "".join(parts), status)


def address_of(request: Request) -> str:
    """Return the address that somebody asks from."""
    return request.client.host if request.client else "-"


def address_with(path: str, wanted: str) -> str:
    """Return an address of the door that remembers where somebody wants to be afterwards."""
    return path if wanted == "/" else f"{path}?next={quote(wanted, safe='')}"


async def _read_form(request: Request) -> dict[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _draw_form(name: str, wanted: str, lang: str, intro: str) -> str:
    words = {f"{key}_words": t(f"login.{key}", lang) for key in ("name", "code", "code_help", "enter")}
    return FORM.substitute(
        words, intro_words=t(f"login.{intro}", lang), action=html.escape(address_with(LOGIN, wanted)),
        name=html.escape(name[:LONGEST_NAME], quote=True), longest=LONGEST_NAME, name_focus="" if name else "autofocus",
        code_focus="autofocus" if name else "",
    )  # fmt: skip
