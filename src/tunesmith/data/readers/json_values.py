"""One JSON value to a row, or to the name of what is wrong with it. Knows no files."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

import orjson

from tunesmith.data.formats import Problem, Row

MOST_NESTED = 100  # what writes rows back stops at 254 levels, what compares them is recursive
_MOST_PATH = 200  # characters of a field's name that are told
Item = Row | Problem
STRING = rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"'
STRUCTURE = re.compile(STRING + rb'|[\[{\]}"]')  # a lone quote is a string that does not end in its line
_SURROGATE = re.compile("[\ud800-\udfff]")


class _NotANumberError(ValueError):
    pass


class _DuplicateKeyError(ValueError):
    pass


def decode_row(raw: bytes, line: int) -> list[Item]:
    """Return the row of a JSON object, after a warning if it has one, or the problem that it is."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return [explain(raw, line, error)]
    if not isinstance(value, dict):
        return [Problem(line, "", "not_an_object", {"found": type(value).__name__})]
    return check_row(raw, line, value) if is_suspicious(raw, value) else [Row(line, value)]


def is_suspicious(raw: bytes, value: dict[str, Any]) -> bool:
    """Say quickly whether `check_row` could find anything: more names written than kept, many levels, a NUL."""
    names = _count_shallow_names(value)
    if names < 0:
        if raw.count(b"[") + raw.count(b"{") > MOST_NESTED:
            return True
        names = _count_names(value)
    written = raw.count(b'":')
    if written != names:
        written += raw.count(b'" :') - raw.count(b'\\":') - raw.count(b'\\" :')  # spaced, and those within a text
    return written != names or b"\\u0000" in raw


def check_row(raw: bytes, line: int, value: dict[str, Any]) -> list[Item]:
    """Return the row of a parsed object and what is wrong with it that the parser lets pass."""
    if _depth(raw) > MOST_NESTED:
        return [Problem(line, "", "too_deeply_nested", {"most": MOST_NESTED})]
    if field := find_text(value, "\0"):
        return [Problem(line, field, "control_character", {"found": "U+0000"})]
    try:
        json.loads(raw, object_pairs_hook=_refuse_duplicates, parse_int=len, parse_float=len)
    except _DuplicateKeyError as error:
        name = str(error)[:100]
        return [Problem(line, name, "duplicate_key", {"name": name}, "warning"), Row(line, value)]
    except (ValueError, RecursionError):
        pass  # what orjson reads and json does not is no reason to lose the row
    return [Row(line, value)]


def explain(raw: bytes, line: int, error: orjson.JSONDecodeError) -> Problem:
    """Return why orjson refused a value; `line` is that of its first byte."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return Problem(line, "", "broken_text")
    at = line + error.lineno - 1
    if _depth(raw) > MOST_NESTED:
        return Problem(line, "", "too_deeply_nested", {"most": MOST_NESTED})
    found = "\0" if "\0" in text else text[error.pos : error.pos + 1]
    if found and found < " " and not found.isspace():
        return Problem(at, "", "control_character", {"found": f"U+{ord(found):04X}"})
    try:
        value = json.loads(text, parse_constant=_refuse_number, parse_float=_finite, parse_int=len)
    except _NotANumberError as refused:
        return Problem(line, "", "not_a_number", {"found": str(refused)[:40]})
    except (ValueError, RecursionError):
        return Problem(at, "", "not_json", {"column": error.colno})
    field = find_text(value, _SURROGATE)
    return Problem(line, field, "broken_text") if field is not None else Problem(at, "", "not_json", {"column": error.colno})


def find_text(value: Any, wanted: str | re.Pattern[str]) -> str | None:
    """Return the path of the first text (or name) that holds what is wanted, `messages[1].content`; None if none does."""
    for path, text in _texts(value, ""):
        if (wanted in text) if isinstance(wanted, str) else wanted.search(text):
            return path.encode("utf-8", "replace").decode() or "text"
    return None


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    waiting: list[tuple[str, Any]] = [(path, value)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, dict):
            for name in value:
                yield _join(path, name), name
            waiting += [(_join(path, name), part) for name, part in reversed(value.items())]
        elif isinstance(value, list):
            waiting += [(f"{path}[{i}]"[:_MOST_PATH], part) for i, part in reversed(list(enumerate(value, start=1)))]


def _join(path: str, name: str) -> str:
    return f"{path}.{name[:_MOST_PATH]}".lstrip(".")[:_MOST_PATH]


def _count_shallow_names(value: dict[str, Any]) -> int:
    """Return the number of names in an object of words and of lists of objects of words, which most rows are; -1 for others."""
    names = len(value)
    for part in value.values():
        if type(part) is list:
            for inner in part:
                if type(inner) is not dict:
                    return -1
                names += len(inner)
                for word in inner.values():
                    if type(word) is not str:
                        return -1
        elif type(part) is dict:
            return -1
    return names


def _count_names(value: Any) -> int:
    if type(value) is dict:
        return len(value) + sum(_count_names(part) for part in value.values() if type(part) is dict or type(part) is list)
    return sum(_count_names(part) for part in value if type(part) is dict or type(part) is list)


def _depth(raw: bytes) -> int:
    if raw.count(b"[") + raw.count(b"{") <= MOST_NESTED:
        return 0
    depth = deepest = 0
    for match in STRUCTURE.finditer(raw):
        token = match[0]
        if token in {b"[", b"{"}:
            depth += 1
            deepest = max(deepest, depth)
        elif token in {b"]", b"}"}:
            depth -= 1
    return deepest


def _refuse_number(word: str) -> NoReturn:
    raise _NotANumberError(word)


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise _NotANumberError(word)
    return number


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _DuplicateKeyError(Counter(name for name, _ in pairs).most_common(1)[0][0])
