"""Asks a child process to read people's files, and waits for it with progress. Knows no formats and no pages."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from tunesmith.errors import UserError
from tunesmith.system.environment import worker_environment

Progress = Callable[[float], object]
BUDGET = {"bytes": 4_000_000_000, "rows": 5_000_000, "seconds": 1800.0, "field_bytes": 5_000_000}
MEMORY_BYTES = 3_000_000_000  # of address space; the resident share stays far below
GRACE_SECONDS = 30.0


def ask_reader(
    operation: str, path: Path, target: Path | None = None, mapping: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None, progress: Progress | None = None, budget: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return what `data.reading_process` answers; an exception in `progress` (a page that goes on) ends the child.

    Raises UserError as the operation does, `data_reader_died`.
    """
    limits = {**BUDGET, **(budget or {})}
    request = {
        "op": operation, "path": str(path), "target": str(target or ""), "mapping": mapping, "settings": settings, "budget": limits,
        "memory_bytes": MEMORY_BYTES,
    }  # fmt: skip
    own = {**worker_environment(os.environ), "PYTHONHASHSEED": "0", **(environment or {})}  # one hash of a row in all its processes
    child = subprocess.Popen(
        [sys.executable, "-m", "tunesmith.data.reading_process"], env=own,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,  # nobody reads it: a full pipe would hold the child up
    )  # fmt: skip
    watchdog = threading.Timer(limits["seconds"] + GRACE_SECONDS, child.kill)
    watchdog.start()
    try:
        return _converse(child, orjson.dumps(request), path.name, progress)
    finally:
        watchdog.cancel()
        child.kill()
        child.communicate()


def _converse(child: subprocess.Popen[bytes], request: bytes, file: str, progress: Progress | None) -> dict[str, Any]:
    assert child.stdin
    assert child.stdout
    stdin, child.stdin = child.stdin, None  # communicate would flush it
    with suppress(BrokenPipeError):  # it died before it listened: its silence tells
        stdin.write(request)
    with suppress(BrokenPipeError):
        stdin.close()
    for line in child.stdout:
        said = orjson.loads(line)
        if "result" in said:
            result: dict[str, Any] = said["result"]
            return result
        if "error" in said:
            raise UserError(said["error"]["code"], **said["error"]["facts"])
        if progress and said["total"]:
            progress(min(1.0, said["done"] / said["total"]))
    raise UserError("data_reader_died", file=file)
