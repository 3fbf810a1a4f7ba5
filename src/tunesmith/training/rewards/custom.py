"""Reward functions of people's own Python files, each file in a child process that is bounded in time and memory. Knows no models.

The child keeps a run from hanging, from running out of memory, and from being printed into; it does not keep a file from reading the
computer: whoever may put files into the rewards folder is trusted.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import psutil

from tunesmith.errors import UserError
from tunesmith.system.scratch import scratch_folder

SECONDS = 20.0
MEMORY_BYTES = 2_000_000_000
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # numpy reserves memory for every core otherwise
_CHILD = Path(__file__).with_name("child.py")
_LONGEST_ANSWER_BYTES = 10_000_000
_PIECE_BYTES = 65536
_GLANCE_SECONDS = 0.2


class RewardFile:
    """One Python file's functions; the child is started at the first need, and again after it died."""

    def __init__(self, path: Path, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self.path = path
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._known: list[str] = []
        self._asked = 0

    def functions(self) -> list[str]:
        """Return the names of the file's functions.

        Raises UserError `reward_file_missing`, `reward_file_broken`, `reward_timeout`, `reward_died`.
        """
        self.close()
        if not _is_file(self.path):
            raise UserError("reward_file_missing", file=self.path.name)
        self._folder = scratch_folder()
        home = self._folder.name
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", str(_CHILD), str(self.path.resolve()), str(self._memory_bytes), str(self._seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=home, bufsize=0, start_new_session=True,
            env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "HOME": home, "TMPDIR": home, **_ONE_THREAD},
        )  # fmt: skip
        self._asked = 0
        said = self._ask(b"", "")
        if not isinstance(said.get("functions"), list):
            self.close()
            raise UserError("reward_file_broken", file=self.path.name, line=said.get("line", 0), reason=said.get("error", ""))
        self._known = [str(name) for name in said["functions"]]
        return list(self._known)

    def score(self, name: str, arguments: Mapping[str, Any], count: int) -> list[float | None]:
        """Return one reward per completion, None where the function has nothing to say; `arguments` are lists of `count` items, by name.

        Raises UserError `reward_function_unknown`, `reward_failed`, `reward_timeout`, `reward_died`, `reward_wrong_count`,
        `reward_not_a_number`, and what `functions` raises.
        """
        if self._child is None:
            self.functions()
        if name not in self._known:
            raise UserError("reward_function_unknown", function=name, file=self.path.name, known=", ".join(self._known) or "–")
        self._asked += 1
        request = {"id": self._asked, "name": name, "count": count, "arguments": dict(arguments)}
        said = self._ask(json.dumps(request, default=str).encode() + b"\n", name)  # unlike orjson it takes any text and NaN
        if "values" not in said:
            raise UserError("reward_failed", function=name, file=self.path.name, line=said.get("line", 0), reason=said.get("error", ""))
        return self._checked(name, said["values"], count)

    def _checked(self, name: str, values: Any, count: int) -> list[float | None]:
        if not isinstance(values, list) or len(values) != count:
            found = len(values) if isinstance(values, list) else 0
            raise UserError("reward_wrong_count", function=name, file=self.path.name, expected=count, found=found)
        for number, value in enumerate(values, start=1):
            if value is not None and not isinstance(value, float):
                what = value.get("found", "") if isinstance(value, dict) else type(value).__name__
                raise UserError("reward_not_a_number", function=name, file=self.path.name, completion=number, found=what)
        return values

    def _ask(self, request: bytes, name: str) -> dict[str, Any]:
        """Send a request, nothing to hear what the child says first; a child that answers late, wrongly or never is ended."""
        facts = {"function": name or self.path.name, "file": self.path.name}
        try:
            said = orjson.loads(self._exchange(request))
        except TimeoutError as error:
            self.close()
            if not name:
                raise UserError("reward_file_slow", file=self.path.name, seconds=self._seconds) from error
            raise UserError("reward_timeout", **facts, seconds=self._seconds) from error
        except MemoryError:
            self.close()
            return {"error": f"MemoryError: more than {self._memory_bytes} bytes", "line": 0}
        except (OSError, orjson.JSONDecodeError):
            said = None  # it died, or something else wrote into what it says
        if isinstance(said, dict) and said.get("id") == self._asked:
            return said
        raise UserError("reward_died", **facts, exit=self.close())

    def _exchange(self, request: bytes) -> bytes:
        """Write a request and return the next line. Raises TimeoutError, MemoryError, OSError.

        Never waits for a pipe to end: a process that the child started may hold it open for ever.
        """
        assert self._child is not None
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        deadline = time.monotonic() + self._seconds
        left, line = memoryview(request), b""
        with selectors.DefaultSelector() as ready:
            for pipe, event in ((self._child.stdin, selectors.EVENT_WRITE), (self._child.stdout, selectors.EVENT_READ)):
                os.set_blocking(pipe.fileno(), False)
                ready.register(pipe, event)
            while not line.endswith(b"\n") and len(line) < _LONGEST_ANSWER_BYTES:
                if not left and self._child.stdin in ready.get_map():
                    ready.unregister(self._child.stdin)
                if time.monotonic() > deadline:
                    raise TimeoutError
                able = ready.select(_GLANCE_SECONDS)
                for key, event in able:
                    if event & selectors.EVENT_WRITE:
                        with contextlib.suppress(BlockingIOError):
                            left = left[os.write(key.fd, left[:_PIECE_BYTES]) :]
                    elif piece := os.read(key.fd, _PIECE_BYTES):
                        line += piece
                    else:
                        return line
                if not able and self._has_ended(self._child.pid):
                    return line
        return line

    def _has_ended(self, pid: int) -> bool:
        """Return whether the child is no more. Raises MemoryError when it has more than it may: not every system keeps to the limit."""
        with contextlib.suppress(psutil.Error):
            child = psutil.Process(pid)
            if child.status() == psutil.STATUS_ZOMBIE:
                return True
            if child.memory_info().rss > self._memory_bytes:
                raise MemoryError
        return False

    def close(self) -> int | None:
        """End the child, and whatever it started in its process group; returns its exit code, None when there was none."""
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.cleanup()
            self._folder = None
        return None if child is None else child.returncode


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False
