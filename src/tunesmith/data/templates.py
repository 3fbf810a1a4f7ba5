"""Rows to token ids and to which of them are learned, by the model's own chat template. Imports no tokenizer: one is passed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jinja2 import TemplateError

from tunesmith.data.formats import Message, as_messages, row_kind
from tunesmith.errors import UserError


class Tokenizer(Protocol):
    """What is needed of a tokenizer (transformers' and mlx-lm's have it)."""

    eos_token_id: int | None
    chat_template: Any

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of a text."""

    def apply_chat_template(self, messages: Sequence[Message], **options: Any) -> Any:
        """Return the ids of a conversation."""


@dataclass(frozen=True)
class Encoded:
    """Token ids [T] and whether the loss counts each of them [T]."""

    ids: list[int]
    supervised: list[bool]

    def learns_to_end(self, end_token: int | None) -> bool:
        """Say whether the end-of-text token is among what is learned."""
        return end_token is not None and any(s and i == end_token for i, s in zip(self.ids, self.supervised, strict=True))

    def cut(self, longest: int) -> Encoded:
        """Return the first `longest` tokens."""
        return Encoded(self.ids[:longest], self.supervised[:longest])

    def split(self, longest: int) -> list[Encoded]:
        """Return the row in pieces of at most `longest` tokens."""
        return [Encoded(self.ids[b : b + longest], self.supervised[b : b + longest]) for b in range(0, len(self.ids), longest)]


def encode_row(value: Mapping[str, Any], tokenizer: Tokenizer, loss_on: str = "all_answers", template: str | None = None) -> Encoded:
    """Return a checked row as tokens, by the model's own chat template or a given one (Jinja).

    `loss_on` is `all_answers` (every assistant turn up to and including its end-of-turn token), `last_answer`, or `everything`; of
    plain text every token counts. Raises UserError `model_without_chat_template`.
    """
    kind = row_kind(value)
    if kind == "text":
        ids = list(tokenizer.encode(value["text"]))
        if tokenizer.eos_token_id is not None and (not ids or ids[-1] != tokenizer.eos_token_id):
            ids.append(tokenizer.eos_token_id)
        return Encoded(ids, [True] * len(ids))
    messages = as_messages(value)
    written = Writing(tokenizer, template, value.get("tools") if kind == "messages" else None)
    ids = written.ids(messages)
    if loss_on == "everything":
        return Encoded(ids, [True] * len(ids))
    return Encoded(ids, mask_assistant_turns(written, messages, ids, last_only=loss_on == "last_answer"))


@dataclass(frozen=True)
class Writing:
    """How conversations become ids: the tokenizer, a template in place of its own, the tools that the template may tell of."""

    tokenizer: Tokenizer
    template: str | None = None
    tools: Any = None

    def ids(self, messages: Sequence[Message], answer_next: bool = False) -> list[int]:
        """Return a conversation's ids; with `answer_next`, up to where the assistant begins to write.

        Raises UserError `model_without_chat_template`, `template_broken` (roles in an order that the template refuses).
        """
        if not (self.template or self.tokenizer.chat_template):
            raise UserError("model_without_chat_template")
        options = {"chat_template": self.template} if self.template else {}
        if self.tools:
            options["tools"] = self.tools
        try:
            ids = self.tokenizer.apply_chat_template(
                list(messages), tokenize=True, add_generation_prompt=answer_next, return_dict=False, **options
            )
        except TemplateError as error:
            raise UserError("template_broken", line=getattr(error, "lineno", None) or 1, reason=str(error)[:200]) from error
        return [int(token) for token in ids]


def render(tokenizer: Tokenizer, messages: Sequence[Message], answer_next: bool = False, template: str | None = None) -> list[int]:
    """Return a conversation's ids; see `Writing.ids`."""
    return Writing(tokenizer, template).ids(messages, answer_next)


def mask_assistant_turns(written: Writing, messages: Sequence[Message], ids: Sequence[int], last_only: bool = False) -> list[bool]:
    """Return True for the tokens of every assistant turn, or of the last one [T].

    A turn runs from the end of the rendered prompt before it to the end of the conversation so far; a line break that the template
    writes behind the end-of-turn token is no part of it. A template that rewrites earlier turns (reasoning that is dropped later)
    has its common beginning taken, so that no token of another turn is ever learned.
    """
    supervised = [False] * len(ids)
    turns = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    for number in turns[-1:] if last_only else turns:
        begin = _common_length(ids, written.ids(messages[:number], answer_next=True)) if number else 0
        end = _common_length(ids, written.ids(messages[: number + 1]))
        turn = list(ids[begin:end])
        if written.tokenizer.eos_token_id in turn:
            last = len(turn) - 1 - turn[::-1].index(written.tokenizer.eos_token_id)
            end = begin + last + 1
        supervised[begin:end] = [True] * (end - begin)
    return supervised


def _common_length(left: Sequence[int], right: Sequence[int]) -> int:
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    return min(len(left), len(right))
