"""The process of one file of reward functions: `python -I child.py FILE MEMORY_BYTES`. Needs nothing but Python itself.

JSON lines: it says which functions there are, then answers each `{"name", "arguments"}` by `{"values"}` or `{"error", "line"}`. What the
file prints goes to the standard error; it runs with the rights of whoever started it, only memory and files' size are bounded.
"""

import importlib.util
import inspect
import itertools
import json
import os
import resource
import sys
import traceback

LARGEST_FILE_BYTES = 10_000_000


def limit(memory_bytes):
    """Bound what the functions may take, where the system keeps to it; they get no core file."""
    limits = ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_FSIZE, LARGEST_FILE_BYTES), (resource.RLIMIT_CORE, 0))
    for what, most in limits:
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):
            continue


def load(path):
    """Return the functions of a file by name: those that it defines itself, private ones aside."""
    described = importlib.util.spec_from_file_location("reward_file", path)
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == "reward_file" and not name.startswith("_")
    }


def plain(value):
    """Return a function's answer as JSON can hold it; NaN and infinity as their names."""
    if value is None or isinstance(value, (bool, int)):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return {"found": type(value).__name__}
    return number if number == number and abs(number) != float("inf") else {"found": str(number)}


def describe(error, path):
    """Return an error and the last line of the file that it passed."""
    places = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else (places[-1] if places else None)
    return {"error": f"{type(error).__name__}: {error}"[:500], "line": line or 0}


def answer(functions, request, path):
    """Call one function."""
    try:
        values = functions[request["name"]](**request["arguments"])
        return {"values": [plain(value) for value in itertools.islice(values, request["count"] + 1)]}
    except BaseException as error:  # SystemExit of a reward function too is an error of it
        return describe(error, path)


def main():
    """Load the file and answer until the input ends."""
    path, memory_bytes = sys.argv[1], int(sys.argv[2])
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    limit(memory_bytes)
    functions = {}

    def say(record):
        out.write(json.dumps(record) + "\n")
        out.flush()

    try:
        functions = load(path)
        say({"functions": sorted(functions)})
    except BaseException as error:
        say(describe(error, path))
    for line in sys.stdin:
        say(answer(functions, json.loads(line), path))


if __name__ == "__main__":
    main()
