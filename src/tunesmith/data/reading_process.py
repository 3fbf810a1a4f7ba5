"""The process that reads people's files: `python -m tunesmith.data.reading_process`, a JSON request in, JSON lines out. Knows no pages.

Reading happens here so that a hostile file can take this process down at most: memory, rows, bytes and time are bounded.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from tunesmith.data.importing import Work, import_hub, import_source, inspect
from tunesmith.data.readers.source import Budget
from tunesmith.data.rewriting import check, clean, resplit
from tunesmith.data.row_kinds import mapping_of
from tunesmith.errors import UserError
from tunesmith.store.files import as_user_error

EVERY_SECONDS = 0.2

OPERATIONS: dict[str, Callable[[Work, Path, dict[str, Any]], dict[str, Any]]] = {
    "inspect": lambda work, _, settings: inspect(work, settings.get("most_rows", 0)),
    "import": lambda work, target, _: import_source(work, target),
    "import_hub": lambda work, target, settings: import_hub(work, target, settings["name"]),
    "check": lambda work, _, settings: check(work, settings),
    "clean": clean,
    "split": resplit,
}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do one request of `OPERATIONS`. Raises UserError as they do."""
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > EVERY_SECONDS:
            last = time.monotonic()
            _say({"done": done, "total": total})

    mapping = mapping_of(request["mapping"]) if request.get("mapping") else None
    work = Work(Path(request["path"]), mapping, Budget(**request["budget"]), progress)
    return OPERATIONS[request["op"]](work, Path(request["target"]), request.get("settings") or {})


def _say(record: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(record, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY) + b"\n")
    sys.stdout.buffer.flush()


def limit_memory(most_bytes: int) -> None:
    """Let this process have at most so much memory, where the system keeps to it (Linux)."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))


def main() -> None:
    """Answer the one request in the standard input; the last line is `result` or `error`."""
    request = orjson.loads(sys.stdin.buffer.read())
    limit_memory(request["memory_bytes"])
    gc.disable()  # rows hold no cycles, and looking for them costs a tenth of the time
    try:
        _say({"result": answer(request)})
    except UserError as error:
        _say({"error": error.as_record()})
    except MemoryError:
        _say({"error": UserError("data_needs_too_much_memory", file=Path(request["path"]).name).as_record()})
    except OSError as error:
        told = as_user_error(error, Path(request["target"], "rows"))
        wording = told if told.code == "disk_full" else UserError("data_not_written", reason=error.strerror or str(error))
        _say({"error": wording.as_record()})


if __name__ == "__main__":
    main()
