"""The process of one file of reward functions: `python -I -X utf8 child.py FILE MEMORY_BYTES SECONDS`. Needs nothing but Python itself.

JSON lines: it says which functions there are, then answers each `{"id", "name", "count", "arguments"}` by `{"id", "values"}` or
`{"id", "error", "line"}`. What the file prints is lost; it runs with the rights of whoever started it, only its time, its memory and the
size of its files are bounded.
"""

from __future__ import annotations

import fcntl
import inspect
import itertools
import json
import math
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

LARGEST_FILE_BYTES = 10_000_000
LONGEST_MESSAGE = 500
_MODULE = "reward_file"
_OUT_OF_THE_WAY = 100  # a file may write to the small descriptors as it likes


def limit(memory_bytes: int) -> None:
    """Bound what the functions may take, where the system keeps to it; they get no core file."""
    limits = ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_FSIZE, LARGEST_FILE_BYTES), (resource.RLIMIT_CORE, 0))
    for what, most in limits:
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):
            continue


def open_channel() -> tuple[TextIO, TextIO]:
    """Return what to read from and to write to; the file itself finds an empty input, and its prints go to the standard error."""
    asked = os.fdopen(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY), "r", encoding="utf-8")
    said = os.fdopen(fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    return asked, said


def load(path: str) -> dict[str, Callable[..., Any]]:
    """Return the functions of a file by name: those that it defines itself, private ones aside."""
    module = ModuleType(_MODULE)
    module.__file__ = path
    sys.modules[_MODULE] = module  # dataclasses look their module up
    code = compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)  # never an older compiled one
    exec(code, vars(module))  # that is its purpose # noqa: S102 # nosec B102
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == _MODULE and not name.startswith("_")
    }


def plain(value: object) -> object:
    """Return a function's answer as JSON can hold it: a number, None, or what was found in its place."""
    if value is None:
        return None
    if isinstance(value, str | bytes):
        return {"found": type(value).__name__}
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return {"found": type(value).__name__[:LONGEST_MESSAGE]}
    return number if math.isfinite(number) else {"found": str(number)}


def describe(error: BaseException, path: str) -> dict[str, object]:
    """Return an error and the last line of the file that it passed."""
    places = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == path]
    if isinstance(error, SyntaxError) and error.filename == path:
        places.append(error.lineno or 0)
    try:
        message = f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001  an error's own text may fail too
        message = type(error).__name__
    return {"error": message[:LONGEST_MESSAGE].encode("utf-8", "replace").decode(), "line": places[-1] if places else 0}


def accepted(function: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that a function can take: all of them when it has **kwargs, else those that it names."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return arguments
    return {name: value for name, value in arguments.items() if name in parameters}


def answer(functions: dict[str, Callable[..., Any]], request: dict[str, Any], path: str) -> dict[str, object]:
    """Call one function."""
    try:
        function = functions[request["name"]]
        values = function(**accepted(function, request["arguments"]))
        return {"values": [plain(value) for value in itertools.islice(values, request["count"] + 1)]}
    except BaseException as error:  # noqa: BLE001  SystemExit of a reward function too is an error of it
        return describe(error, path)


def main() -> None:
    """Load the file and answer until the input ends."""
    path, memory_bytes, seconds = sys.argv[1], int(sys.argv[2]), math.ceil(float(sys.argv[3]))
    own = os.getpid()
    asked, said = open_channel()
    limit(memory_bytes)

    def say(number: int, record: dict[str, object]) -> None:
        if os.getpid() != own:
            os._exit(0)  # a function that split itself in two answers once
        said.write(json.dumps({"id": number} | record) + "\n")
        said.flush()
        signal.alarm(0)

    signal.alarm(seconds + 1)  # who started this ends it earlier, unless that process is gone
    functions: dict[str, Callable[..., Any]] = {}
    try:
        functions = load(path)
        say(0, {"functions": sorted(functions)})
    except BaseException as error:  # noqa: BLE001  whatever a file does when it is loaded
        say(0, describe(error, path))
    for line in asked:
        signal.alarm(seconds + 1)
        request = json.loads(line)
        say(request["id"], answer(functions, request, path))
    if os.getpgrp() == own:
        os.killpg(own, signal.SIGKILL)  # nothing that the file started stays, threads included


if __name__ == "__main__":
    main()
