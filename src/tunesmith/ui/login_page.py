"""The page that asks for the code or leads to the identity provider, and the words of a refused request: plain HTML, before Streamlit."""

from __future__ import annotations

import html
from pathlib import Path
from string import Template
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
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
from tunesmith.i18n.catalog import LANGUAGES, accepted_language, error_record, error_words, t
from tunesmith.ui.preferences import PREFIX

MOST_BODY_BYTES = 8_000
PINGS = {"/_stcore/health", "/_stcore/host-config"}  # by which an open page looks for its server; it shows what it is answered
PAGE = Template((Path(__file__).parent / "assets" / "door.html").read_text(encoding="utf-8"))
SIGN_IN = Template('<a class="button" href="$address">$words</a>')
FORM = Template("""<p>$intro_words</p><form method="post" action="$action" autocomplete="on">
<label>$name_words<input name="name" maxlength="$longest" required autocomplete="username" value="$name" $name_focus></label>
<label>$code_words<input name="code" type="password" required autocomplete="current-password" $code_focus>
<small>$code_help_words</small></label><button>$enter_words</button></form>""")


# A link on another site comes without the strict cookie, and another tab may have entered meanwhile: who is in need not enter again.
GO_IN = """<script>
const look = () => fetch(location.href, { redirect: "manual" })
  .then((answer) => { if (answer.type === "opaqueredirect") location.replace(location.href) }).catch(() => {});
look();
addEventListener("focus", look);
</script>"""


def language_of(headers: Headers) -> str:
    """Return the language that was chosen in a browser, else the first that it says it accepts."""
    chosen = cookie_parser(headers.get("cookie", "")).get(f"{PREFIX}language")
    if chosen in LANGUAGES:
        return chosen
    return accepted_language(headers.get("accept-language", ""))


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
    """Return a refusal: a page for browsers, a sentence for pages that are open, a record for programs."""
    headers = Headers(scope=scope)
    lang = language_of(headers)
    if error.code == "code_needed" and scope["path"] in PINGS:
        return JSONResponse(error_words("session_over", {}, lang), status)  # of plain text Streamlit shows nothing
    if "text/html" not in headers.get("accept", ""):
        return JSONResponse(error_record(error, lang), status)
    return draw_page(lang, draw_problem(error, lang), status)


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
            return RedirectResponse(_wanted(request), 303)
        return self._draw(request, "", None)

    async def _enter(self, request: Request) -> Response:
        if not self._door.open_to_network:
            return RedirectResponse("/", 303)
        address = address_of(request)
        if wait := self._attempts.seconds_to_wait(address):
            told = self._draw(request, "", UserError("code_attempts", seconds=int(wait) + 1), 429)
            told.headers["retry-after"] = str(int(wait) + 1)
            return told
        fields = await _read_form(request)
        try:
            person = self._check(fields, self._door.provider())
        except UserError as error:
            if error.code == "code_wrong":
                self._attempts.note_failure(address)
            self._door.note(None, "door.refused", {"by": "code", "reason": error.code, "name": fields.get("name", ""), "address": address})
            return self._draw(request, fields.get("name", ""), error, 401 if error.code == "code_wrong" else 400)
        self._door.note(person, "door.enter", {"by": "code", "address": address})
        answer = RedirectResponse(_wanted(request), 303)
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
        if person := self._door.leave(request.headers.get("cookie", "")):
            self._door.note(person, "door.leave", {})
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(self._door.cookie, httponly=True, samesite="strict")
        return answer

    def _draw(self, request: Request, name: str, error: UserError | None, status: int = 200) -> HTMLResponse:
        lang, wanted, provider = language_of(request.headers), _wanted(request), self._door.provider()
        parts = [draw_problem(error, lang)] if error else []
        if provider:
            words = html.escape(t("login.sign_in", lang, provider=provider.name))
            parts.append(SIGN_IN.substitute(address=html.escape(address_with(START, wanted)), words=words))
        if provider is None or provider.codes:
            parts.append(_draw_form(name, wanted, lang, "intro_too" if provider else "intro"))
        return draw_page(lang, "".join([*parts, GO_IN]), status)


def _wanted(request: Request) -> str:
    """Return where somebody wants to be after entering."""
    return inner_address(request.query_params.get("next", "/"))


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
