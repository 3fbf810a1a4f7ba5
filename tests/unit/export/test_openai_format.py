"""What a request may ask: read right, and everything else refused by name."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tunesmith.errors import UserError
from tunesmith.export.openai_format import Envelope, Kind, Piece, Question, describe_error, read_question

MESSAGES = [{"role": "user", "content": "Hi"}]


def read(kind: Kind = "chat", **body: Any) -> Question:
    needed: dict[str, Any] = {"messages": MESSAGES} if kind == "chat" else {"prompt": "Once"}
    return read_question(orjson.dumps({"model": "m", **needed, **body}), kind)


def refusal(kind: Kind = "chat", **body: Any) -> tuple[str, object]:
    with pytest.raises(UserError) as caught:
        read(kind, **body)
    return caught.value.code, caught.value.facts.get("option")


def test_what_is_asked_is_read() -> None:
    question = read(
        max_completion_tokens=7, temperature=0, top_p=0.5, seed=-3, stop=["a", "b"], stream=True, stream_options={"include_usage": True},
        user="anna", n=1, tools=[], response_format={"type": "text"}, frequency_penalty=0.0, logprobs=False, logit_bias=None,
    )  # fmt: skip
    assert question == Question("chat", "m", MESSAGES, "", 7, 0, 0.5, -3, ("a", "b"), True, True)
    assert read("text", stop="x") == Question("text", "m", [], "Once", None, 1.0, 1.0, None, ("x",), False, False)
    assert read("text", prompt=["One"]).prompt == "One"


def test_messages_may_be_parts_and_whole_answers_sent_back() -> None:
    parts = [{"type": "text", "text": "Good "}, {"type": "text", "text": "day"}]
    sent_back = {"role": "assistant", "content": "Yes?", "refusal": None, "tool_calls": None, "annotations": []}
    question = read(messages=[{"role": "developer", "content": "Be kind"}, sent_back, {"role": "user", "content": parts}])
    assert question.messages == [
        {"role": "system", "content": "Be kind"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Good day"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2), ("n", True), ("response_format", {"type": "json_object"}), ("tools", [{"type": "function"}]), ("tool_choice", "auto"),
        ("logprobs", True), ("presence_penalty", 0.5), ("logit_bias", {"5": 1}), ("adapters", "/somewhere"), ("top_k", 5), ("prompt", "x"),
    ],
)  # fmt: skip
def test_what_is_not_done_is_refused(name: str, value: Any) -> None:
    assert refusal(**{name: value}) == ("request_option_unsupported", name)


def test_a_texts_log_probabilities_are_refused_even_of_none_more() -> None:
    assert refusal("text", logprobs=0) == ("request_option_unsupported", "logprobs")  # 0 asks for those of the chosen tokens
    assert refusal("text", best_of=3) == ("request_option_unsupported", "best_of")
    assert refusal("text", messages=MESSAGES) == ("request_option_unsupported", "messages")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", 3), ("temperature", 2.1), ("temperature", -1), ("temperature", True), ("top_p", 0), ("top_p", 1.5), ("max_tokens", 0),
        ("max_tokens", 2.5), ("seed", 2**64 - 1), ("seed", "a"), ("stop", ""), ("stop", [1]), ("stop", ["a"] * 17), ("stop", "a" * 1001),
        ("stream", "yes"), ("stream_options", {"other": 1}), ("messages", []), ("messages", "Hi"), ("messages", None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(name: str, value: Any) -> None:
    assert refusal(**{name: value}) == ("request_option_wrong", name)


@pytest.mark.parametrize(
    ("message", "code", "option"),
    [
        ("Hi", "request_option_wrong", "messages[0]"),
        ({"role": "tool", "content": "x"}, "request_option_wrong", "messages[0].role"),
        ({"role": ["user"], "content": "x"}, "request_option_wrong", "messages[0].role"),
        ({"role": "user"}, "request_option_wrong", "messages[0].content"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "request_option_wrong", "messages[0].content"),
        ({"role": "assistant", "content": "", "tool_calls": [{"id": "a"}]}, "request_option_unsupported", "messages[0].tool_calls"),
    ],
)
def test_wrong_messages_are_named(message: Any, code: str, option: str) -> None:
    assert refusal(messages=[message]) == (code, option)


@pytest.mark.parametrize("prompt", [None, "", ["a", "b"], [1, 2], [[1]], 5])
def test_wrong_prompts_are_named(prompt: Any) -> None:
    assert refusal("text", prompt=prompt) == ("request_option_wrong", "prompt")


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b'{"model": "\\ud800"}', b"[" * 5000, b'{"temperature": NaN}'])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(UserError) as caught:
        read_question(body, "chat")
    assert caught.value.code == "request_not_json"


def test_answers_have_the_documented_shape() -> None:
    last = Piece("!", 3, 5, "length")
    whole = Envelope("chat", "m", "1", 9).whole("Hi!", last)
    assert whole == {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 9, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi!"}, "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }  # fmt: skip
    assert Envelope("text", "m", "1", 9).piece(Piece("H", 3, 1)) == {
        "id": "cmpl-1", "object": "text_completion", "created": 9, "model": "m",
        "choices": [{"index": 0, "text": "H", "logprobs": None, "finish_reason": None}],
    }  # fmt: skip
    assert describe_error(UserError("request_option_unsupported", option="n"), 400)["error"] == {
        "message": "request_option_unsupported(option='n')", "type": "invalid_request_error", "param": "n",
        "code": "request_option_unsupported",
    }  # fmt: skip
