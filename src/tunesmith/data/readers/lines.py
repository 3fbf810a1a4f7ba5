"""Lines from pieces of UTF-8 text, with a bound on the length of each. Knows no format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tunesmith.data.formats import Problem


@dataclass(frozen=True)
class Overlong:
    """Stands for a line or value that was longer than allowed and was not kept."""

    size_bytes: int

    def as_problem(self, line: int, most_bytes: int) -> Problem:
        """Return the problem `field_too_long`."""
        return Problem(line, "", "field_too_long", {"size_bytes": self.size_bytes, "most_bytes": most_bytes})


def line_blocks(chunks: Iterable[bytes], most_bytes: int) -> Iterator[list[bytes | Overlong]]:
    """Yield lists of successive lines without their ends; a line of more than `most_bytes` is replaced and never held."""
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        first, *lines = chunk.split(b"\n")
        last = first
        if lines:
            last = lines.pop()
            size += len(first)
            whole: list[bytes | Overlong] = [b"".join([*parts, first]) if size <= most_bytes else Overlong(size)]
            whole += lines if len(chunk) <= most_bytes else [Overlong(len(x)) if len(x) > most_bytes else x for x in lines]
            parts, size = [], 0
            yield whole
        size += len(last)
        parts = [*parts, last] if size <= most_bytes else []
    if size:
        yield [b"".join(parts) if size <= most_bytes else Overlong(size)]
