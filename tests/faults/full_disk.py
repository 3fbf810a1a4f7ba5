"""A disk that takes no more after so many calls that need space, at the module `os` and at `open`. Knows no records of the app."""

from __future__ import annotations

import builtins
import errno
import functools
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _is_file(descriptor: int) -> bool:
    """Whether it is a file: while the disk is full, the work writes none but its own."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


class FullDisk:
    """Use as a context around the work: from the call number `full_from` on (None: never) whatever needs space under `root` fails.

    With `short`, the first write that fails writes half of its bytes before, as the system does.
    """

    def __init__(self, root: Path, full_from: int | None = None, short: bool = False) -> None:
        self._root, self._full_from, self._short = os.fspath(root), full_from, short
        self.calls = 0

    def __enter__(self) -> FullDisk:
        self._originals: list[tuple[Any, str, Any]] = []
        for name, wrap in (("open", self._opening), ("mkdir", self._needing), ("write", self._writing), ("fsync", self._flushing),
                           ("sendfile", self._sending)):  # fmt: skip
            self._patch(os, name, wrap)
        opened = self._opening_file(io.open)
        for module in (io, builtins):
            self._patch(module, "open", lambda _: opened)
        return self

    def __exit__(self, *_: object) -> None:
        for module, name, original in self._originals:
            setattr(module, name, original)

    def _patch(self, module: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        original = getattr(module, name)
        self._originals.append((module, name, original))
        setattr(module, name, wrap(original))

    def take(self) -> bool:
        """Count a call that needs space; return whether it gets none."""
        self.calls += 1
        return self._full_from is not None and self.calls > self._full_from

    def _require(self) -> None:
        if self.take():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _under(self, path: Any) -> bool:
        return not isinstance(path, int) and os.fspath(path).startswith(self._root)

    def _opening(self, call: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(call)
        def opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if self._under(path) and flags & os.O_CREAT and not Path(path).exists():
                self._require()
            return call(path, flags, *args, **kwargs)

        return opened

    def _needing(self, call: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(call)
        def made(path: Any, *args: Any, **kwargs: Any) -> None:
            if self._under(path) and not Path(path).exists():
                self._require()
            call(path, *args, **kwargs)

        return made

    def _writing(self, call: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
        @functools.wraps(call)
        def written(descriptor: int, data: Any) -> int:
            return self.write(lambda part: call(descriptor, part), data) if _is_file(descriptor) else call(descriptor, data)

        return written

    def write(self, call: Callable[[Any], int], data: Any) -> int:
        """Write, or half of it, or nothing."""
        if not self.take():
            return call(data)
        if self._short and len(data) > 1:
            self._short = False
            return call(memoryview(data)[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _flushing(self, call: Callable[[int], None]) -> Callable[[int], None]:
        @functools.wraps(call)
        def flushed(descriptor: int) -> None:
            if _is_file(descriptor):  # some file systems only find out now
                self._require()
            call(descriptor)

        return flushed

    def _sending(self, call: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(call)
        def sent(target: int, *args: Any, **kwargs: Any) -> int:
            if _is_file(target):
                self._require()
            return call(target, *args, **kwargs)

        return sent

    def _opening_file(self, call: Callable[..., Any]) -> Callable[..., Any]:
        disk = self

        class Raw(io.FileIO):
            def write(self, data: Any, /) -> int:
                return disk.write(super().write, data)

        @functools.wraps(call)
        def opened(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, *args: Any, **kwargs: Any) -> Any:
            if not set(mode) & set("wax+") or not self._under(file):
                return call(file, mode, buffering, encoding, *args, **kwargs)
            if not Path(file).exists():
                self._require()
            raw = Raw(file, mode.replace("b", "").replace("t", ""))
            if buffering == 0:
                return raw
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, *args, **kwargs)

        return opened
