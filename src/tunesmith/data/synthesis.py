"""Synthetic rows: what a model is asked, the schema that its answer must fit, and which answers are kept. Knows no model and no network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema

from tunesmith.data.japanese import split_sentences
from tunesmith.data.json_objects import find_objects
from tunesmith.data.near_duplicates import NearDuplicateIndex
from tunesmith.data.quality import texts_of
from tunesmith.data.split import prompt_key
from tunesmith.settings.fields import setting

PIECE_CHARACTERS = 1500


def _object(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": True}


_TEXT: dict[str, Any] = {"type": "string", "pattern": r"\S"}
_TURN = _object(role={"enum": ["user", "assistant"]}, content=_TEXT)


@dataclass(frozen=True)
class SynthesisKind:
    """What is asked for, the JSON schema of one answer, and the row that it becomes."""

    task: str
    schema: Mapping[str, Any]
    as_row: Callable[[Mapping[str, Any]], dict[str, Any]]


KINDS: dict[str, SynthesisKind] = {
    "qa": SynthesisKind(
        "Write one question that the source answers, and its short, correct answer.", _object(question=_TEXT, answer=_TEXT),
        lambda made: {"prompt": made["question"], "answer": made["answer"]},
    ),
    "instruction": SynthesisKind(
        "Write one instruction that somebody could give an assistant about the source, and the best response.",
        _object(instruction=_TEXT, response=_TEXT), lambda made: {"prompt": made["instruction"], "completion": made["response"]},
    ),
    "chat": SynthesisKind(
        "Write a conversation of two or three questions of a user about the source, each answered by an assistant.",
        _object(messages={"type": "array", "items": _TURN, "minItems": 4, "maxItems": 12}), lambda made: {"messages": made["messages"]},
    ),
    "summary": SynthesisKind(
        "Write a faithful summary of the source in one to three sentences.", _object(summary=_TEXT),
        lambda made: {"completion": made["summary"]},
    ),
    "preference": SynthesisKind(
        "Write one question about the source, a good answer, and a plausible answer that is clearly worse.",
        _object(question=_TEXT, good_answer=_TEXT, worse_answer=_TEXT),
        lambda made: {"prompt": made["question"], "chosen": made["good_answer"], "rejected": made["worse_answer"]},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class SynthesisRules:
    """What is generated; the source is given apart."""

    kind: str = setting(
        "qa", choices=tuple(KINDS), label="Kind", help="What each row is: question and answer, instruction, chat, summary, preference."
    )
    count: int = setting(
        50, minimum=1, maximum=100_000, unit="rows", label="Rows", help="The generation ends when so many rows were accepted."
    )
    language: str = setting(
        "same", choices=("same", "en", "ja"), label="Language of the rows", help="same: the language of the source."
    )  # fmt: skip
    temperature: float = setting(0.7, minimum=0.0, maximum=2.0, label="Temperature", help="Higher varies more, and fails more often.")
    max_tokens: int = setting(
        512, minimum=16, maximum=8192, unit="tokens", label="Longest answer", help="An answer is cut after this many tokens."
    )  # fmt: skip
    attempts: int = setting(
        3, minimum=1, maximum=10, label="Attempts", help="How often a model that answers in a wrong form is told so and asked again."
    )  # fmt: skip
    near_threshold: float = setting(
        0.8, minimum=0.3, maximum=1.0, label="Near duplicates from", help="Rows this similar to an earlier or a test row are not kept."
    )  # fmt: skip


class BadAnswerError(Exception):
    """An answer that fits no row; `reason` is told to the model, `code` counted."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def split_source(text: str, most_characters: int = PIECE_CHARACTERS) -> list[str]:
    """Return a document in pieces of whole paragraphs, of whole sentences where a paragraph is too long."""
    pieces: list[str] = []
    held = ""
    for part in _parts(text, most_characters):
        if held and len(held) + len(part) > most_characters:
            pieces.append(held.strip())
            held = ""
        held += part
    return [piece for piece in [*pieces, held.strip()] if piece]


def _parts(text: str, most_characters: int) -> Iterator[str]:
    for paragraph in text.replace("\r\n", "\n").split("\n\n"):
        if len(paragraph) <= most_characters:
            yield paragraph + "\n\n"
            continue
        for sentence in split_sentences(paragraph):
            yield from (sentence[begin : begin + most_characters] + " " for begin in range(0, len(sentence), most_characters))


def ask_for(kind: str, source: str, language: str, complaints: Sequence[tuple[str, str]] = ()) -> list[dict[str, str]]:
    """Return the messages that ask for one row; `complaints` are earlier answers and what was wrong with them."""
    rules = {"same": "Write in the language of the source.", "en": "Write in English.", "ja": "日本語で書いてください。"}[language]
    shape = json.dumps(KINDS[kind].schema, ensure_ascii=False)
    system = f"You write training data. {KINDS[kind].task} {rules} Answer with one JSON object only, valid for this JSON schema:\n{shape}"
    messages = [{"role": "system", "content": system}, {"role": "user", "content": f"Source:\n{source}"}]
    for answer, reason in complaints:
        messages.append({"role": "assistant", "content": answer[:2000]})
        messages.append({"role": "user", "content": f"This cannot be used: {reason} Answer with one valid JSON object only."})
    return messages


def read_answer(kind: str, text: str, source: str) -> dict[str, Any]:
    """Return the row in a model's answer. Raises BadAnswerError `no_json`, `wrong_shape`, `equal_answers`."""
    made = _find_object(text)
    found = jsonschema.Draft202012Validator(KINDS[kind].schema).iter_errors(made)
    if error := next(found, None):
        place = "/".join(map(str, error.absolute_path)) or "object"
        raise BadAnswerError("wrong_shape", f"{place}: {error.message[:200]}.")
    row = KINDS[kind].as_row(made)
    if kind == "summary":
        row = {"prompt": f"Summarise:\n\n{source}", **row}
    if kind == "chat" and [m["role"] for m in row["messages"]] != ["user", "assistant"] * (len(row["messages"]) // 2):
        raise BadAnswerError("wrong_shape", "messages: user and assistant must take turns, the user first.")
    if row.get("chosen", 0) == row.get("rejected", 1):
        raise BadAnswerError("equal_answers", "the two answers are the same.")
    return row


def _find_object(text: str) -> Any:
    """Return the first whole JSON object in a text, fenced or within words."""
    for _, found in find_objects(text):
        return found
    raise BadAnswerError("no_json", "there is no JSON object in it.")


class RowFilter:
    """Refuses rows that repeat earlier ones or ask what a test row asks."""

    def __init__(self, near_threshold: float, earlier: Sequence[Mapping[str, Any]], tests: Sequence[Mapping[str, Any]]) -> None:
        self._texts: list[str] = []
        self._near = NearDuplicateIndex(near_threshold, self._texts.__getitem__)
        self._prompts = {prompt_key(row) for row in tests}
        self._test_count = 0
        for row in tests:
            self._is_near(row)
        self._test_count = len(self._texts)
        for row in earlier:
            self._is_near(row)

    def _is_near(self, row: Mapping[str, Any]) -> int | None:
        self._texts.append(texts_of(row).text)
        found = list(self._near.add_block(len(self._texts) - 1, self._texts[-1:]))
        return found[0][1] if found else None

    def reason(self, row: Mapping[str, Any]) -> str:
        """Return `leaks_into_test`, `near_duplicate`, or nothing for a row that is kept; it counts as an earlier one from now on."""
        if prompt_key(row) in self._prompts:
            return "leaks_into_test"
        near = self._is_near(row)
        if near is None:
            return ""
        return "leaks_into_test" if near < self._test_count else "near_duplicate"


def source_hash(source: str) -> str:
    """Return 12 hexadecimal digits that tell a source."""
    return hashlib.sha256(source.encode("utf-8", "replace")).hexdigest()[:12]
