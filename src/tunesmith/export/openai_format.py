"""Requests and answers in OpenAI's form: bodies checked into questions, texts made into JSON. Knows no server and no model.

What is not done here is refused, never ignored: `n` above 1, `response_format`, tools, log-probabilities, penalties.
Format: OpenAI's API reference, "Chat" and "Completions".
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from tunesmith.data.formats import Message
from tunesmith.errors import UserError

Kind = Literal["chat", "text"]
Record = dict[str, Any]
MOST_STOPS, LONGEST_STOP = 16, 1000
INT64 = 2**63

_COMMON = {"model", "stream", "stream_options", "stop", "max_tokens", "temperature", "top_p", "seed", "user"}
KNOWN: Mapping[Kind, set[str]] = {"chat": _COMMON | {"messages", "max_completion_tokens"}, "text": _COMMON | {"prompt"}}
NEUTRAL: Record = {  # options that are not supported, and the value at which they ask for nothing
    "n": 1, "best_of": 1, "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}, "logprobs": False, "top_logprobs": 0,
    "response_format": {"type": "text"}, "tools": [], "tool_choice": "none", "echo": False, "suffix": "", "store": False,
}  # fmt: skip
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
OBJECTS: Mapping[Kind, tuple[str, str, str]] = {  # beginning of the id, names of a whole answer and of a piece
    "chat": ("chatcmpl-", "chat.completion", "chat.completion.chunk"),
    "text": ("cmpl-", "text_completion", "text_completion"),
}


@dataclass(frozen=True)
class Question:
    """A checked request. `messages` are a chat's, `prompt` is a text's; None leaves `max_tokens` and `seed` to the server."""

    kind: Kind
    model: str
    messages: list[Message]
    prompt: str
    max_tokens: int | None
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool


@dataclass(frozen=True)
class Piece:
    """A piece of an answer: its text, tokens of the prompt and of the answer so far; `finish` is `stop` or `length` with the last."""

    text: str
    prompt_tokens: int
    tokens: int
    finish: str = ""

    @property
    def usage(self) -> Record:
        """Token counts; the answer's includes its end-of-text token."""
        return {
            "prompt_tokens": self.prompt_tokens, "completion_tokens": self.tokens, "total_tokens": self.prompt_tokens + self.tokens,
        }  # fmt: skip


def read_question(body: bytes, kind: Kind) -> Question:
    """Return what a request's body asks.

    Raises UserError `request_not_json`, `request_option_unsupported`, `request_option_wrong`.
    """
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UserError("request_not_json", reason=str(error)[:100]) from error
    if not isinstance(asked, dict):
        raise UserError("request_not_json", reason=type(asked).__name__)
    given = {name: value for name, value in asked.items() if value is not None}
    _refuse_unsupported(given, kind)
    longest = "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"
    return Question(
        kind=kind,
        model=_read(given, "model", "", "string", lambda v: isinstance(v, str)),
        messages=_read_messages(given.get("messages")) if kind == "chat" else [],
        prompt=_read_prompt(given.get("prompt")) if kind == "text" else "",
        max_tokens=_read(given, longest, None, "integer > 0", lambda v: _is_integer(v) and v > 0),
        temperature=_read(given, "temperature", 1.0, "number 0..2", lambda v: _is_number(v) and 0 <= v <= 2),
        top_p=_read(given, "top_p", 1.0, "number 0..1", lambda v: _is_number(v) and 0 < v <= 1),
        seed=_read(given, "seed", None, "integer", lambda v: _is_integer(v) and -INT64 <= v < INT64),
        stop=_read_stops(given.get("stop", [])),
        stream=_read(given, "stream", False, "boolean", lambda v: isinstance(v, bool)),
        include_usage=_read(given, "stream_options", {}, "{include_usage: boolean}", _is_stream_options).get("include_usage", False),
    )


def _refuse_unsupported(given: Mapping[str, Any], kind: Kind) -> None:
    for name, value in given.items():
        if name in KNOWN[kind]:
            continue
        neutral = NEUTRAL.get(name)
        if neutral is None or value != neutral or isinstance(value, bool) != isinstance(neutral, bool):
            raise UserError("request_option_unsupported", option=name[:100])


def _read(given: Mapping[str, Any], name: str, default: Any, expected: str, fits: Callable[[Any], bool]) -> Any:
    if name not in given:
        return default
    if not fits(given[name]):
        raise _wrong(name, expected)
    return given[name]


def _wrong(option: str, expected: str) -> UserError:
    return UserError("request_option_wrong", option=option, expected=expected)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_stream_options(value: Any) -> bool:
    return isinstance(value, dict) and set(value) <= {"include_usage"} and isinstance(value.get("include_usage", False), bool)


def _read_stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    fitting = isinstance(stops, list) and len(stops) <= MOST_STOPS
    if not fitting or not all(isinstance(stop, str) and 0 < len(stop) <= LONGEST_STOP for stop in stops):
        raise _wrong("stop", f"string | [string], 0..{MOST_STOPS} × 1..{LONGEST_STOP}")
    return tuple(stops)


def _read_prompt(value: Any) -> str:
    prompt = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(prompt, str) or not prompt:
        raise _wrong("prompt", "string")
    return prompt


def _read_messages(value: Any) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise _wrong("messages", "[{role, content}]")
    return [_read_message(f"messages[{place}]", message) for place, message in enumerate(value)]


def _read_message(place: str, message: Any) -> Message:
    if not isinstance(message, dict):
        raise _wrong(place, "{role, content}")
    given = {name: value for name, value in message.items() if value not in (None, [])}  # clients send whole answers back
    for name in given:
        if name not in {"role", "content"}:
            raise UserError("request_option_unsupported", option=f"{place}.{name[:100]}")
    role, content = given.get("role"), given.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise _wrong(f"{place}.role", " | ".join(ROLES))
    return {"role": ROLES[role], "content": _read_content(place, content)}


def _read_content(place: str, content: Any) -> str:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    fitting = isinstance(parts, list) and all(isinstance(p, dict) and p.get("type") == "text" for p in parts)
    if not fitting or not all(isinstance(part.get("text"), str) for part in parts):
        raise _wrong(f"{place}.content", "string | [{type: text, text}]")
    return "".join(part["text"] for part in parts)


@dataclass(frozen=True)
class Envelope:
    """What is around the texts of one answer."""

    kind: Kind
    model: str
    number: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, last: Piece) -> Record:
        """Return an answer in one."""
        content = {"message": {"role": "assistant", "content": text}} if self.kind == "chat" else {"text": text}
        return self._around(1, [_choice(content, last.finish)], usage=last.usage)

    def begin(self) -> Record:
        """Return a stream's first event: who speaks."""
        content = {"delta": {"role": "assistant", "content": ""}} if self.kind == "chat" else {"text": ""}
        return self._around(2, [_choice(content, "")])

    def piece(self, piece: Piece) -> Record:
        """Return one event of a stream."""
        delta = {"content": piece.text} if piece.text else {}
        return self._around(2, [_choice({"delta": delta} if self.kind == "chat" else {"text": piece.text}, piece.finish)])

    def bill(self, last: Piece) -> Record:
        """Return the event that tells the token counts, when they were asked for."""
        return self._around(2, [], usage=last.usage)

    def _around(self, name: int, choices: list[Record], **more: Any) -> Record:
        names = OBJECTS[self.kind]
        return {
            "id": names[0] + self.number, "object": names[name], "created": self.created, "model": self.model, "choices": choices, **more,
        }  # fmt: skip


def _choice(content: Record, finish: str) -> Record:
    return {"index": 0, **content, "logprobs": None, "finish_reason": finish or None}


def describe_model(name: str, created: int) -> Record:
    """Return a model as the list of models tells of it."""
    return {"id": name, "object": "model", "created": created, "owned_by": "tunesmith"}


def describe_error(error: UserError, status: int) -> Record:
    """Return an error as OpenAI's clients read it. Its words are the code and the facts: a server knows nobody's language."""
    kind = "authentication_error" if status == 401 else "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": str(error), "type": kind, "param": error.facts.get("option"), "code": error.code}}
