"""A policy's answers by step, found by the place of their line; one shared reader per run. Knows lines, not what a completion is."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import orjson

_HEAD = re.compile(rb'\{"v":1,"step":(\d+),')


class RolloutLog:
    """Follows rollouts.jsonl by offset. A step that a later attempt did again replaces the earlier one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._end = 0
        self._places: dict[int, tuple[int, int]] = {}

    def steps(self) -> list[int]:
        """Return the steps that are recorded, ascending; looks for new ones first."""
        with self._lock:
            self._refresh()
            return sorted(self._places)

    def _refresh(self) -> None:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._end:
            self._end, self._places = 0, {}
        if size == self._end:
            return
        with self._path.open("rb") as stream:
            stream.seek(self._end)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                if head := _HEAD.match(line):
                    self._places[int(head.group(1))] = (self._end, len(line))
                self._end += len(line)

    def read(self, step: int) -> list[dict[str, Any]]:
        """Return a step's groups, empty when there are none."""
        with self._lock:
            place = self._places.get(step)
        if place is None:
            return []
        with self._path.open("rb") as stream:
            stream.seek(place[0])
            try:
                record = orjson.loads(stream.read(place[1]))
            except orjson.JSONDecodeError:
                return []
        return list(record.get("groups", []))
