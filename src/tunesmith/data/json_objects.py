"""JSON objects inside a model's words: fenced, among sentences, several in a row. Knows no schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def find_objects(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (where it begins, object) of each whole JSON object that stands in no other, in the text's order."""
    decoder = json.JSONDecoder()
    begin = text.find("{")
    while begin >= 0:
        try:
            value, end = decoder.raw_decode(text, begin)
        except (json.JSONDecodeError, RecursionError):
            end = begin + 1
        else:
            yield begin, value
        begin = text.find("{", end)
