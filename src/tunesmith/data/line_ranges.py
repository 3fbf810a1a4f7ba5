"""A large file of JSON lines in ranges that several processes judge at once; plain ones are copied, the others read with care, in order."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

from tunesmith.data.formats import Problem, Row
from tunesmith.data.plain_lines import Verdict, check_range
from tunesmith.data.readers.json_rows import json_line_rows
from tunesmith.data.readers.meter import Budget, Meter
from tunesmith.data.readers.source import Source
from tunesmith.data.version_files import VersionWriter
from tunesmith.errors import UserError

RANGE_BYTES = 1_000_000
PARALLEL_BYTES = 32_000_000
MOST_PROCESSES = 8
Items = Iterator[tuple[str, Row | Problem]]
Progress = Callable[[int, int], None]


def find_ranges(path: Path, source: Source, most_line_bytes: int) -> list[tuple[int, int]]:
    """Return byte ranges of whole lines; none when the file is no plain file of JSON lines in UTF-8 or has a line that is too long."""
    if source.format != "jsonl" or source.encoding != "utf-8" or not path.is_file():
        return []
    size = path.stat().st_size
    cuts = [0]
    with path.open("rb") as file:
        if file.read(1) != b"{":  # compressed, or with a byte order mark
            return []
        while cuts[-1] + RANGE_BYTES < size:
            file.seek(cuts[-1] + RANGE_BYTES)
            if not file.readline(most_line_bytes + 1).endswith(b"\n"):
                return [] if file.tell() < size else list(zip(cuts, [*cuts[1:], size], strict=True))
            cuts.append(file.tell())
    return [pair for pair in zip(cuts, [*cuts[1:], size], strict=True) if pair[0] < pair[1]]


def range_items(
    path: Path, split: str, ranges: list[tuple[int, int]], writer: VersionWriter, budget: Budget, progress: Progress | None
) -> Items:
    """Write plain ranges and yield (split, row or problem) of the others. Raises UserError `data_too_many_rows`, `data_too_slow`, …"""
    meter = Meter(budget, path.name)
    size = ranges[-1][1]
    if size > budget.bytes:
        raise UserError("data_too_large", file=path.name, most_bytes=budget.bytes)
    before = 0
    for (begin, end), verdict in _judge(path, ranges):
        meter.check_time()
        meter.add_rows(verdict.lines)
        if verdict.plain:
            writer.add_range(split, path, begin, end, verdict)
        else:
            for item in json_line_rows([_read(path, begin, end)], budget.field_bytes):
                yield split, _shift(item, before)
        before += verdict.lines
        if progress:
            progress(end, size)


def _judge(path: Path, ranges: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], Verdict]]:
    """Yield each range with its verdict, in order; a few are judged ahead by other processes when the file is large."""
    if ranges[-1][1] < PARALLEL_BYTES:
        yield from ((pair, check_range(path, *pair)) for pair in ranges)
        return
    processes = min(MOST_PROCESSES, os.cpu_count() or 1)
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting: deque[tuple[tuple[int, int], Future[Verdict]]] = deque()
        for pair in ranges:
            waiting.append((pair, pool.submit(check_range, path, *pair)))
            if len(waiting) > 8 * processes:
                done, verdict = waiting.popleft()
                yield done, verdict.result()
        for done, verdict in waiting:
            yield done, verdict.result()


def _read(path: Path, begin: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(end - begin)


def _shift(item: Row | Problem, lines: int) -> Row | Problem:
    if isinstance(item, Row):
        return item._replace(line=item.line + lines)
    return Problem(item.line + lines, item.field, item.code, item.facts, item.severity)
