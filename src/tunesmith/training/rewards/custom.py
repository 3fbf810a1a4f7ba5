"""Reward functions of people's own Python files, each file in a child process that is bounded in time and memory. Knows no models.

The child keeps a run from hanging, from running out of memory, and from being printed into; it does not keep a file from reading the
computer: whoever may put files into the rewards folder is trusted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tunesmith.errors import UserError

SECONDS = 20.0
MEMORY_BYTES = 2_000_000_000
_CHILD = Path(__file__).with_name("child.py")


class RewardFile:
    """One Python file's functions; the child is started at the first need, and again after it died."""

    def __init__(self, path: Path, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self.path = path
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def functions(self) -> list[str]:
        """Return the names of the file's functions. Raises UserError `reward_file_missing`, `reward_file_broken`, `reward_timeout`."""
        if not self.path.is_file():
            raise UserError("reward_file_missing", file=self.path.name)
        self.close()
        self._folder = tempfile.TemporaryDirectory(prefix="tunesmith-reward-")
        self._child = subprocess.Popen(
            [sys.executable, "-I", str(_CHILD), str(self.path.resolve()), str(self._memory_bytes)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=self._folder.name,
            env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "HOME": self._folder.name}, start_new_session=True,
        )  # fmt: skip
        said = self._ask(None, "")
        if "error" in said:
            self.close()
            raise UserError("reward_file_broken", file=self.path.name, line=said["line"], reason=said["error"])
        return list(said["functions"])

    def score(self, name: str, arguments: Mapping[str, Any], count: int) -> list[float | None]:
        """Return one reward per completion, None where the function has nothing to say; `arguments` are lists of `count` items, by name.

        Raises UserError `reward_function_unknown`, `reward_failed`, `reward_timeout`, `reward_died`, `reward_wrong_count`,
        `reward_not_a_number`, and what `functions` raises.
        """
        if self._child is None and name not in (known := self.functions()):
            raise UserError("reward_function_unknown", function=name, file=self.path.name, known=", ".join(known) or "–")
        said = self._ask({"name": name, "count": count, "arguments": arguments}, name)
        if "error" in said:
            raise UserError("reward_failed", function=name, file=self.path.name, line=said["line"], reason=said["error"])
        return _checked(name, said["values"], count)

    def _ask(self, request: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
        """Send a request, None to hear what the child says first; a child that does not answer in time, or no more, is ended."""
        assert self._child is not None
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            self._kill()

        watchdog = threading.Timer(self._seconds, end)
        watchdog.start()
        said = None
        try:
            if request is not None:
                self._child.stdin.write(orjson.dumps(request, option=orjson.OPT_NON_STR_KEYS) + b"\n")
                self._child.stdin.flush()
            said = orjson.loads(self._child.stdout.readline())
        except (OSError, orjson.JSONDecodeError):
            self._kill()  # it died, or wrote into what it says
        finally:
            watchdog.cancel()
        if isinstance(said, dict):
            return said
        code = self._child.wait()
        self.close()
        if late.is_set():
            raise UserError("reward_timeout", function=name or self.path.name, file=self.path.name, seconds=self._seconds)
        raise UserError("reward_died", function=name or self.path.name, file=self.path.name, exit=code)

    def _kill(self) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the child, and whatever it started."""
        if self._child is not None:
            self._kill()
            self._child.communicate()
            self._child = None
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.cleanup()
            self._folder = None


def _checked(name: str, values: Sequence[Any], count: int) -> list[float | None]:
    if len(values) != count:
        raise UserError("reward_wrong_count", function=name, expected=count, found=len(values))
    for number, value in enumerate(values, start=1):
        if isinstance(value, dict):
            raise UserError("reward_not_a_number", function=name, completion=number, found=value["found"])
    return [None if value is None else float(value) for value in values]
