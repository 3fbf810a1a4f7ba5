"""The page that asks for the code, and the words of a refused request: plain HTML, before Streamlit is reached."""

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
from tunesmith.access.sessions import SESSION_SECONDS
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import error_words, t

MOST_BODY_BYTES = 8_000
PAGE = Template((Path(__file__).parent / "assets" / "door.html").read_text(encoding="utf-8"))
FORM = Template("""<p>$intro_words</p>$problem<form method="post" action="$action" autocomplete="on">
<label>$name_words<input name="name" maxlength="$longest" required autocomplete="username" value="$name" $name_focus></label>
<label>$code_words<input name="code" type="password" required autocomplete="current-password" $code_focus>
<small>$code_help_words</small></label><button>$enter_words</button></form>""")


def language_of(accept: str) -> str:
    """Return the language of a browser that says what it accepts."""
    return "ja" if accept.strip().lower().startswith("ja") else "en"


def refuse(scope: Scope, status: int, error: UserError) -> Response:
    """Return a refusal: a page for browsers, a record for programs."""
    headers = {key.decode().lower(): value.decode("latin-1") for key, value in scope["headers"]}
    if "text/html" not in headers.get("accept", ""):
        return JSONResponse(error.as_record(), status)
    lang = language_of(headers.get("accept-language", ""))
    words = html.escape(error_words(error.code, error.facts, lang))
    return HTMLResponse(PAGE.substitute(lang=lang, body=f'<p role="alert">{words}</p>'), status)


class LoginPage:
    """Asks for name and code, and gives the cookie."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._attempts = Attempts()

    @property
    def routes(self) -> list[Route]:
        """Where it answers."""
        return [Route(LOGIN, self._show, methods=["GET"]), Route(LOGIN, self._enter, methods=["POST"]),
                Route(LOGOUT, self._leave, methods=["GET"])]  # fmt: skip

    async def _show(self, request: Request) -> Response:
        if not self._door.open_to_network or self._door.person(request.headers.get("cookie", "")):
            return RedirectResponse("/", 303)
        return _draw_form(request, "", None)

    async def _enter(self, request: Request) -> Response:
        if not self._door.open_to_network:
            return RedirectResponse("/", 303)
        address = request.client.host if request.client else "-"
        if wait := self._attempts.seconds_to_wait(address):
            told = _draw_form(request, "", UserError("code_attempts", seconds=int(wait) + 1), 429)
            told.headers["retry-after"] = str(int(wait) + 1)
            return told
        fields = await _read_form(request)
        role = self._door.codes().role_of(fields.get("code", ""))
        if role is None:
            self._attempts.note_failure(address)
            return _draw_form(request, fields.get("name", ""), UserError("code_wrong"), 401)
        try:
            person = Person(clean_name(fields.get("name", "")), role)
        except UserError as error:
            return _draw_form(request, "", error, 400)
        self._attempts.forget(address)
        answer = RedirectResponse(inner_address(request.query_params.get("next", "/")), 303)
        answer.set_cookie(
            self._door.cookie, self._door.sessions().issue(person), max_age=SESSION_SECONDS, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    async def _leave(self, request: Request) -> Response:
        del request
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(self._door.cookie, httponly=True, samesite="strict")
        return answer


async def _read_form(request: Request) -> dict[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _draw_form(request: Request, name: str, error: UserError | None, status: int = 200) -> HTMLResponse:
    lang = language_of(request.headers.get("accept-language", ""))
    problem = f'<p role="alert">{html.escape(error_words(error.code, error.facts, lang))}</p>' if error else ""
    wanted = inner_address(request.query_params.get("next", "/"))
    words = {f"{key}_words": t(f"login.{key}", lang) for key in ("intro", "name", "code", "code_help", "enter")}
    form = FORM.substitute(
        words, action=html.escape(LOGIN if wanted == "/" else f"{LOGIN}?next={quote(wanted, safe='')}"), problem=problem,
        name=html.escape(name[:LONGEST_NAME], quote=True), longest=LONGEST_NAME, name_focus="" if name else "autofocus",
        code_focus="autofocus" if name else "",
    )  # fmt: skip
    return HTMLResponse(PAGE.substitute(lang=lang, body=form), status, headers={"cache-control": "no-store"})
