"""The way to the identity provider and back: plain HTML at the door. Knows the flow's calls, not its steps."""

from __future__ import annotations

import html
from string import Template

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tunesmith.access.attempts import Attempts
from tunesmith.access.gate import LOGIN, Door, inner_address
from tunesmith.access.provider import Provider
from tunesmith.access.sign_in import CALLBACK, ON_THE_WAY_SECONDS, START, SignIn
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import t
from tunesmith.ui.login_page import address_of, address_with, draw_page, draw_problem, language_of, let_in

STATUS = {"oidc_unreachable": 502, "oidc_answer_wrong": 502, "code_attempts": 429, "oidc_library_missing": 500}
GO_ON = Template('<meta http-equiv="refresh" content="0;url=$address"><a class="button" href="$address">$words</a>')


class SignInPage:
    """Sends people to the provider and takes them in when they come back."""

    def __init__(self, door: Door) -> None:
        self._door, self._attempts = door, Attempts()
        self._known: tuple[Provider, str, SignIn] | None = None

    @property
    def routes(self) -> list[Route]:
        """Where it answers."""
        return [Route(START, self._start, methods=["GET"]), Route(CALLBACK, self._finish, methods=["GET"])]

    def _sign_in(self, provider: Provider) -> SignIn:
        key = self._door.codes().key
        if self._known is None or self._known[:2] != (provider, key):
            self._known = (provider, key, SignIn(provider, key))
        return self._known[2]

    async def _start(self, request: Request) -> Response:
        provider = self._door.provider()
        if provider is None:
            return RedirectResponse(LOGIN, 303)
        wanted = inner_address(request.query_params.get("next", "/"))
        if request.headers["host"].strip().lower() != provider.place:  # the way back leads there, and a cookie is of one name
            return RedirectResponse(provider.address + address_with(START, wanted), 303)
        try:
            address, note = await run_in_threadpool(self._sign_in(provider).begin, wanted)
        except UserError as error:
            return self._refuse(request, error)
        answer = RedirectResponse(address, 303, headers={"cache-control": "no-store"})
        answer.set_cookie(
            self._cookie, note, max_age=ON_THE_WAY_SECONDS, path=START, httponly=True, samesite="lax", secure=_is_encrypted(provider)
        )  # lax: a strict one would not come back from another site
        return answer

    @property
    def _cookie(self) -> str:
        return f"{self._door.cookie}_oidc"

    async def _finish(self, request: Request) -> Response:
        provider, address = self._door.provider(), address_of(request)
        if provider is None:
            return RedirectResponse(LOGIN, 303)
        if wait := self._attempts.seconds_to_wait(address):
            return self._refuse(request, UserError("code_attempts", seconds=int(wait) + 1))
        try:
            person, wanted = await run_in_threadpool(
                self._sign_in(provider).finish, request.cookies.get(self._cookie, ""), dict(request.query_params)
            )
        except UserError as error:
            self._attempts.note_failure(address)
            told = {name: str(error.facts[name]) for name in ("email", "reason") if name in error.facts}
            self._door.note(None, "door.refused", {"by": provider.name, "code": error.code, "address": address} | told)
            return self._refuse(request, error)
        self._attempts.forget(address)
        self._door.note(person, "door.enter", {"by": provider.name, "address": address})
        lang, target = language_of(request.headers), html.escape(inner_address(wanted))
        # a page, not a redirection: a strict cookie is not sent along on a way that began at another site
        answer = draw_page(lang, GO_ON.substitute(address=target, words=html.escape(t("login.go_on", lang))))
        let_in(self._door, answer, person, _is_encrypted(provider))
        answer.delete_cookie(self._cookie, path=START)
        return answer

    def _refuse(self, request: Request, error: UserError) -> Response:
        lang = language_of(request.headers)
        again = f'<a class="button" href="{LOGIN}">{html.escape(t("login.again", lang))}</a>'
        answer = draw_page(lang, draw_problem(error, lang) + again, STATUS.get(error.code, 403))
        answer.delete_cookie(self._cookie, path=START)
        return answer


def _is_encrypted(provider: Provider) -> bool:
    return provider.address.startswith("https:")
