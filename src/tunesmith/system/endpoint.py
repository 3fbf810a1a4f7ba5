"""A chat endpoint in OpenAI's form: asked at allowed hosts only, with a key that is looked up and never kept."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import requests

from tunesmith.errors import UserError
from tunesmith.system.addresses import find_allowed, read_address
from tunesmith.system.key_hosts import require_key_host
from tunesmith.system.outgoing import Outgoing
from tunesmith.system.secrets import find_key, mask

PATH = "/chat/completions"
MOST_ANSWER_BYTES = 2_000_000
READ_SECONDS, ANSWER_SECONDS = 180.0, 900.0
ATTEMPTS = 4
LONGEST_WAIT_SECONDS = 60.0
_AGAIN = {408, 409, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Endpoint:
    """Where to ask: base address such as `http://127.0.0.1:8080/v1`, the model's name there, the variable that holds the key."""

    address: str
    model: str
    key_variable: str = ""

    @property
    def host(self) -> str:
        """The host of the address, empty where that is none."""
        try:
            return read_address(self.address).host
        except UserError:
            return ""


@dataclass(frozen=True)
class Reply:
    """An answer, what it cost in tokens (0 when the endpoint does not say), and whether it ended at the longest length."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    was_cut: bool = False


def check_endpoint(endpoint: Endpoint, allowed_hosts: Collection[str]) -> None:
    """Refuse an address that is none, a host that is not allowed, a key that is not there.

    Raises UserError `endpoint_address_wrong`, `endpoint_host_not_allowed`, `endpoint_key_missing`, and as `find_key` does.
    """
    find_allowed(read_address(endpoint.address), allowed_hosts)
    if endpoint.key_variable and not find_key(endpoint.key_variable):
        raise UserError("endpoint_key_missing", variable=endpoint.key_variable)


def key_environment(endpoint: Endpoint) -> dict[str, str]:
    """Return what the process that asks an endpoint needs beside a worker's environment: the one key, which must be for its host.

    Raises UserError as `find_key` and `require_key_host` do.
    """
    name = endpoint.key_variable
    if not name or not (key := find_key(name)):
        return {}
    require_key_host(name, endpoint.address)
    return {name: key}


class EndpointClient:
    """Asks one endpoint; the connection is kept open between questions."""

    def __init__(
        self, endpoint: Endpoint, allowed_hosts: Collection[str], wait_seconds: float = 1.0, attempts: int = ATTEMPTS,
        read_seconds: float = READ_SECONDS, answer_seconds: float = ANSWER_SECONDS,
    ) -> None:  # fmt: skip
        check_endpoint(endpoint, allowed_hosts)
        self._endpoint = endpoint
        self._wait_seconds, self._attempts, self._answer_seconds = wait_seconds, attempts, answer_seconds
        self._outgoing = Outgoing(endpoint.address, allowed_hosts, read_seconds)

    def ask(self, messages: Sequence[dict[str, str]], temperature: float, max_tokens: int) -> Reply:
        """Return an answer; a busy or broken endpoint is asked again, after as long as it says or twice as long each time.

        Raises UserError `endpoint_unreachable`, `endpoint_refused`, `endpoint_bad_answer`, and as `Outgoing.request` and `pieces` do.
        """
        body = {"model": self._endpoint.model, "messages": list(messages), "temperature": temperature, "max_tokens": max_tokens}
        for attempt in range(self._attempts):
            asked_to_wait = 0.0
            try:
                status, content, asked_to_wait = self._post(body)
            except requests.RequestException as error:
                if attempt + 1 == self._attempts:
                    reason = "ReadTimeout" if "timed out" in str(error) else type(error).__name__
                    raise UserError("endpoint_unreachable", address=self._endpoint.address, reason=reason) from error
            else:
                if status == 200:
                    return self._read(content)
                if status not in _AGAIN or attempt + 1 == self._attempts:
                    raise self._refusal(status, content)
            time.sleep(max(asked_to_wait, self._wait_seconds * 2**attempt))
        raise AssertionError  # the last attempt returned or raised

    def _post(self, body: dict[str, Any]) -> tuple[int, bytes, float]:
        """Return status, content, and how many seconds the endpoint asks to wait."""
        key = find_key(self._endpoint.key_variable) if self._endpoint.key_variable else ""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        path = "" if self._outgoing.address.endswith(PATH) else PATH
        with self._outgoing.request("POST", path, self._answer_seconds, json=body, headers=headers) as answer:
            content = b"".join(self._outgoing.pieces(answer, MOST_ANSWER_BYTES))
            content = mask(content.decode("utf-8", "replace"), key).encode()
            return answer.status_code, content, _seconds(answer.headers.get("Retry-After", ""))

    def _refusal(self, status: int, content: bytes) -> UserError:
        reason = " ".join(content[:300].decode("utf-8", "replace").split())
        return UserError("endpoint_refused", address=self._endpoint.address, status=status, reason=reason or "-")

    def _read(self, content: bytes) -> Reply:
        try:
            answer = orjson.loads(content)
            usage = answer.get("usage") or {}
            choice = answer["choices"][0]
            text, was_cut = choice["message"]["content"], choice.get("finish_reason") == "length"
            return Reply(str(text or ""), int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0), was_cut)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError("endpoint_bad_answer", address=self._endpoint.address, reason=type(error).__name__) from error


def _seconds(retry_after: str) -> float:
    """Return the seconds of a Retry-After header; its form with a date counts as none."""
    return min(float(retry_after), LONGEST_WAIT_SECONDS) if retry_after.strip().isdecimal() else 0.0
