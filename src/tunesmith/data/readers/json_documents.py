"""Rows from JSON that is no JSON lines: lists, objects of lists, pretty-printed or concatenated objects. Never holds the whole file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tunesmith.data.formats import Problem
from tunesmith.data.readers.json_values import STRING, STRUCTURE, Item, decode_row
from tunesmith.data.readers.lines import Overlong

CONTAINERS = {
    "data": "", "examples": "", "rows": "",
    "train": "train", "training": "train",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid",
    "test": "test",
}  # fmt: skip
_MOST_RECOVERIES = 30  # each scans the rest once more
_SPACE = re.compile(rb"[ \t\n\r\f]*+")
_STRING = re.compile(STRING)
_STRING_REST = re.compile(rb'[^"\\\n]*+(?:\\.[^"\\\n]*+)*+')
_WORD = re.compile(rb'[^,\[\]{}"\n]{1,4096}+')
_NEXT_OBJECT = re.compile(rb"\n[ \t]*+(?=\{)")
_FLAT = rb'[^"\[\]{}]*+(?:' + STRING + rb'[^"\[\]{}]*+)*+'
_LEVEL_1 = rb"[\[{]" + _FLAT + rb"[\]}]"
_LEVEL_2 = rb"[\[{]" + _FLAT + rb"(?:" + _LEVEL_1 + _FLAT + rb")*+[\]}]"
SHALLOW = re.compile(rb"[\[{]" + _FLAT + rb"(?:" + _LEVEL_2 + _FLAT + rb")*+[\]}]")  # a balanced value in one step


class _Window:
    """The piece of the file that is looked at: it slides forward, and grows only while one value is open."""

    def __init__(self, chunks: Iterable[bytes], most_bytes: int) -> None:
        self.data = b""
        self.at = 0
        self.most_bytes = most_bytes
        self._chunks = iter(chunks)
        self._lines = 1
        self._counted = 0
        self.ended = False

    @property
    def line(self) -> int:
        """The line of `at`, from 1."""
        self._lines += self.data.count(b"\n", self._counted, self.at)
        self._counted = self.at
        return self._lines

    def more(self) -> bool:
        """Take the next chunk and let go of what lies before `at`; False at the end of the file."""
        chunk = next(self._chunks, None)
        if chunk is None:
            self.ended = True
            return False
        self._lines = self.line
        self.data = self.data[self.at :] + chunk
        self.at = self._counted = 0
        return True

    def peek(self) -> bytes:
        """Skip white space and return the next byte, empty at the end of the file."""
        while True:
            match = _SPACE.match(self.data, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.data):
                return self.data[self.at : self.at + 1]
            if not self.more():
                return b""

    def take(self) -> bytes | Overlong | None:
        """Return the value that begins here; None when it has no end, and then nothing is taken."""
        if self.data[self.at] in b"[{":
            match = SHALLOW.match(self.data, self.at)
            return self._cut(match.end() - self.at) if match else self._take_nested()
        return self._take_string() if self.data[self.at] == 0x22 else self._take_word()

    def _cut(self, size: int) -> bytes | Overlong:
        start = self.at
        self.at += size
        return self.data[start : self.at] if size <= self.most_bytes else Overlong(size)

    def _take_word(self) -> bytes | Overlong:
        while (match := _WORD.match(self.data, self.at)) and match.end() == len(self.data) and self.more():
            if len(self.data) > self.most_bytes + 4096:
                break
        return self._cut(max(1, match.end() - self.at if match else 0))

    def _take_string(self) -> bytes | Overlong | None:
        while True:
            match = _STRING.match(self.data, self.at)
            if match:
                return self._cut(match.end() - self.at)
            if len(self.data) - self.at > self.most_bytes:
                self.at += 1
                return Overlong(1 + self._skip_string())
            if b"\n" in self.data[self.at :] or not self.more():
                return None

    def _skip_string(self) -> int:
        """Go behind the end of the string or line, keeping nothing; return the bytes gone over."""
        size = 0
        while True:
            match = _STRING_REST.match(self.data, self.at)
            end = match.end() if match else self.at
            size += end - self.at
            self.at = end
            if end < len(self.data) and self.data[end] in b'"\n':
                self.at += 1
                return size + 1
            if not self.more():
                self.at = len(self.data)
                return size

    def _take_nested(self) -> bytes | Overlong | None:
        depth = scanned = dropped = 0
        while True:
            depth, scanned, complete = self._scan(depth, scanned)
            if complete:
                value = self._cut(scanned)
                return Overlong(dropped + scanned) if dropped else value
            open_string = self.at + scanned < len(self.data)
            if scanned > self.most_bytes or (open_string and len(self.data) - self.at > self.most_bytes):
                dropped += scanned
                self.at += scanned
                if open_string and len(self.data) - self.at > self.most_bytes:
                    self.at += 1
                    dropped += 1 + self._skip_string()
                scanned = 0
            if not self.more() and not open_string:
                return Overlong(dropped) if dropped else None

    def _scan(self, depth: int, scanned: int) -> tuple[int, int, bool]:
        """Follow the brackets; return (depth, bytes looked at, whether the value is complete)."""
        for match in STRUCTURE.finditer(self.data, self.at + scanned):
            token = self.data[match.start()]
            if token in b"[{":
                depth += 1
            elif token in b"]}":
                depth -= 1
                if depth == 0:
                    return depth, match.end() - self.at, True
            elif match.end() == match.start() + 1 and not self.ended and self.data.find(b"\n", match.end()) < 0:
                return depth, match.start() - self.at, False
        return depth, len(self.data) - self.at, False


class DocumentReader:
    """The values of a JSON file in its order. `sample` is its beginning: it tells whether rows lie in an object of lists."""

    def __init__(self, chunks: Iterable[bytes], sample: bytes, most_bytes: int) -> None:
        self._window = _Window(chunks, most_bytes)
        self._in_lists = is_container(sample)
        self._by_line = b"\n" in sample.strip()
        self._index = 0
        self._recoveries = 0
        self._bad_line = 0

    def rows(self) -> Iterator[tuple[str, Item]]:
        """Yield (split, row or problem); the split is empty where the file names none."""
        for split, line, value in self.values():
            if isinstance(value, Problem):
                yield split, value
            elif isinstance(value, Overlong):
                yield split, value.as_problem(line, self._window.most_bytes)
            else:
                for item in decode_row(value, line):
                    yield split, item

    def values(self) -> Iterator[tuple[str, int, bytes | Overlong | Problem]]:
        """Yield (split, line, JSON text) without decoding it."""
        window = self._window
        while byte := window.peek():
            if byte == b"[":
                window.at += 1
                yield from self._elements("")
            elif byte == b"{" and self._in_lists:
                window.at += 1
                yield from self._lists()
            else:
                yield from self._value("", byte)

    def _lists(self) -> Iterator[tuple[str, int, bytes | Overlong | Problem]]:
        window = self._window
        while (byte := window.peek()) and byte != b"}":
            if byte in b",:":
                window.at += 1
            elif byte == b'"':
                key = window.take()
                if isinstance(key, bytes) and window.peek() == b":":
                    window.at += 1
                    split = CONTAINERS.get(key[1:-1].decode("utf-8", "replace"))
                    if window.peek() == b"[" and split is not None:
                        window.at += 1
                        yield from self._elements(split)
                    elif window.peek() and window.take() is None:
                        window.at += 1
                elif key is None:
                    window.at += 1
            elif window.take() is None:
                window.at += 1
        window.at += 1 if byte else 0
        if not byte:
            yield "", window.line, Problem(window.line, "", "ends_early", severity="warning")

    def _elements(self, split: str) -> Iterator[tuple[str, int, bytes | Overlong | Problem]]:
        window = self._window
        while byte := window.peek():
            if byte == b"]":
                window.at += 1
                return
            yield from self._value(split, byte)
        yield split, window.line, Problem(window.line, "", "ends_early", severity="warning")

    def _value(self, split: str, byte: bytes) -> Iterator[tuple[str, int, bytes | Overlong | Problem]]:
        window = self._window
        if byte == b",":
            window.at += 1
            return
        line = window.line
        if byte in b"]}":
            window.at += 1
            yield from self._once(split, line)
            return
        self._index += 1
        value = window.take()
        if value is None:
            self._recover()
            yield split, line, Problem(line, "", "not_json", {"column": 1})
        elif byte in b"[{" or isinstance(value, Overlong) or is_scalar(value):
            yield split, line if self._by_line else self._index, value
        else:
            yield from self._once(split, line)

    def _once(self, split: str, line: int) -> Iterator[tuple[str, int, Problem]]:
        if line != self._bad_line:  # words that are no JSON are named once per line
            self._bad_line = line
            yield split, line, Problem(line, "", "not_json", {"column": 1})

    def _recover(self) -> None:
        """Go on at the next line that begins an object."""
        window = self._window
        self._recoveries += 1
        match = _NEXT_OBJECT.search(window.data, window.at + 1) if self._recoveries <= _MOST_RECOVERIES else None
        window.at = match.end() if match else len(window.data)


def is_scalar(raw: bytes) -> bool:
    """Say whether a word is a JSON string, number or name."""
    word = raw.strip()
    return word.startswith(b'"') or word in {b"true", b"false", b"null", b"NaN", b"Infinity", b"-Infinity"} or bool(_NUMBER.fullmatch(word))


_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


def is_container(sample: bytes) -> bool:
    """Say whether JSON text begins with an object that holds its rows in lists under `data`, `train` and the like."""
    window = _Window([sample], len(sample))
    if window.peek() != b"{":
        return False
    window.at += 1
    while window.peek() == b'"':
        key = window.take()
        if not isinstance(key, bytes) or window.peek() != b":":
            return False
        window.at += 1
        if window.peek() == b"[" and key[1:-1].decode("utf-8", "replace") in CONTAINERS:
            inner = _SPACE.match(sample, window.at + 1)
            if inner and sample[inner.end() : inner.end() + 1] in {b"{", b"]"}:
                return True
        if not window.peek() or window.take() is None or window.peek() != b",":
            return False
        window.at += 1
        window.peek()
    return False
