"""Ranges of a file of JSON lines that are rows of ours already: told fast, by schema, and copied as they stand or without their spaces.

Anything else in a range sends the whole range the careful way, so order, counts and problems are the same on both.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "user", "assistant", "tool"]
    content: Text


class _Messages(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]


class _PromptCompletion(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    prompt: Text
    completion: Text


class _PromptAnswer(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    prompt: Text
    answer: Text


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    text: Text


_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "messages": msgspec.json.Decoder(_Messages), "prompt_completion": msgspec.json.Decoder(_PromptCompletion),
    "prompt_answer": msgspec.json.Decoder(_PromptAnswer), "text": msgspec.json.Decoder(_Text),
}  # fmt: skip
_BEGINNINGS = {b'{"mes': ("messages",), b'{"pro': ("prompt_completion", "prompt_answer"), b'{"tex': ("text",)}
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Verdict:
    """What a range of lines is: how many, whether all are plain, and then their kinds, lengths in characters and hashes.

    `text` is the range as we write it, None when it stands so in the file.
    """

    lines: int
    plain: bool = False
    kinds: Counter[str] = field(default_factory=Counter)
    lengths: bytes = b""
    hashes: bytes = b""
    text: bytes | None = None


def check_range(path: Path, begin: int, end: int) -> Verdict:
    """Judge the lines between two byte offsets, which lie behind line ends."""
    with path.open("rb", buffering=0) as file:
        file.seek(begin)
        data = file.read(end - begin)
    lines = data.split(b"\n")
    if lines.pop():  # the last line of the file lacks its end
        return Verdict(len(lines) + 1)
    if b"\\u0000" in data:
        return Verdict(len(lines))
    kinds: Counter[str] = Counter()
    written: list[bytes] = []
    kind = ""
    for line in lines:
        text = kind and _written_anew(kind, line)
        if not text:  # rows of one kind mostly follow each other
            kind, text = plain_row(line)
        if not kind:
            return Verdict(len(lines))
        kinds[kind] += 1
        written.append(text)
    lengths = array("I", map(len, written) if data.isascii() else (len(line.decode()) for line in written))
    hashes = array("q", map(hash, written))
    changed = None if written == lines else b"\n".join([*written, b""])
    return Verdict(len(lines), True, kinds, lengths.tobytes(), hashes.tobytes(), changed)


def plain_row(line: bytes) -> tuple[str, bytes]:
    """Return the kind of a row that has its kind's columns alone and no problem, and the row as we write it; empty for any other."""
    for kind in _BEGINNINGS.get(line[:5], ()):
        if text := _written_anew(kind, line):
            return kind, text
    return "", b""


def _written_anew(kind: str, line: bytes) -> bytes:
    """Return a plain row of one kind as we write it, empty when it is none. The same number of keys: none stood twice."""
    try:
        value = _DECODERS[kind].decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return b""
    if kind == "messages":
        for message in value.messages:
            if message.content.isspace():
                return b""
        if message.role != "assistant":
            return b""
    elif any(getattr(value, name).isspace() for name in value.__struct_fields__):
        return b""
    text = _encode(value)
    return text if text == line or _count_keys(line) == _count_keys(text) else b""


def _count_keys(line: bytes) -> int:
    """Return how many keys are written; a text that holds the mark counts too, alike in both ways of writing."""
    return line.count(b'":') + line.count(b'" :')
