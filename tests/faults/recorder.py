"""Records what a piece of work does to a folder, and builds every state in which a crash may leave that. Knows no records of the app.

The folder is compared with what was seen before at each call to the system that changes one, so what the patched calls do not show (a
buffered file, mlx's own writer, a child process) is found too, as an unflushed write.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CALLS = ("open", "write", "mkdir", "unlink", "remove", "rmdir", "truncate", "ftruncate", "sendfile", "utime")
FULL_FSYNC = 51  # macOS: F_FULLFSYNC


@dataclass(frozen=True)
class Operation:
    """`create`, `write`, `remove`, `rename` or `flush` of a node (a number that a file or folder keeps); content is None of a folder."""

    kind: str
    node: int
    path: str = ""
    target: str = ""
    before: bytes | None = None
    after: bytes | None = None


@dataclass
class Tree:
    """Nodes by path, and the content of each; a folder has none."""

    paths: dict[str, int] = field(default_factory=dict)
    contents: dict[int, bytes | None] = field(default_factory=dict)

    def copy(self) -> Tree:
        return Tree(dict(self.paths), dict(self.contents))

    def apply(self, done: Operation) -> None:
        """Do an operation; one that an earlier lost one has made impossible does nothing."""
        parent = done.path.rpartition("/")[0]
        match done.kind:
            case "create" if not parent or parent in self.paths:
                self.paths[done.path], self.contents[done.node] = done.node, done.after
            case "write" if done.node in self.contents:
                self.contents[done.node] = done.after
            case "remove":
                for path in self.below(done.path):
                    del self.paths[path]
            case "rename" if self.paths.get(done.path) == done.node:
                inside = self.below(done.path)
                for path in self.below(done.target):
                    del self.paths[path]
                for path in inside:
                    self.paths[done.target + path.removeprefix(done.path)] = self.paths.pop(path)

    def below(self, path: str) -> list[str]:
        return [each for each in self.paths if each == path or each.startswith(f"{path}/")]

    def key(self) -> frozenset[tuple[str, bytes | None]]:
        return frozenset((path, self.contents[node]) for path, node in self.paths.items())

    def write_to(self, folder: Path) -> None:
        for path in sorted(self.paths):
            content = self.contents[self.paths[path]]
            place = f"{folder}/{path}"
            if content is None:
                Path(place).mkdir()
                continue
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(descriptor, content)
            os.close(descriptor)


class Recorder:
    """Use as a context around the work; then `begin` is the tree before it and `log` what happened."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._stamps: dict[str, tuple[int, ...]] = {}
        self._numbers = itertools.count(1)
        self._kept: dict[Any, tuple[str, Any]] = {}
        self._quiet = False
        self.log: list[Operation] = []
        self._tree = Tree()
        self._look()
        self.begin = self._tree.copy()
        self.log.clear()

    def __enter__(self) -> Recorder:
        self._originals = {name: getattr(os, name) for name in (*CALLS, "fsync", "rename", "replace")}
        for name in CALLS:
            setattr(os, name, self._watched(self._originals[name]))
        os.fsync = self._watched(self._originals["fsync"], self._flushed)
        self._fcntl, fcntl.fcntl = fcntl.fcntl, self._full_fsync(fcntl.fcntl)
        for name in ("rename", "replace"):
            setattr(os, name, self._renaming(self._originals[name]))
        return self

    def __exit__(self, *_: object) -> None:
        fcntl.fcntl = self._fcntl
        for name, original in self._originals.items():
            setattr(os, name, original)
        self._look()

    def mark(self) -> int:
        """Return how many operations were done so far."""
        self._look()
        return len(self.log)

    def _watched(self, call: Callable[..., Any], after: Callable[[int], None] | None = None) -> Callable[..., Any]:
        @functools.wraps(call)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._look()
            result = call(*args, **kwargs)
            if after:
                after(args[0])
            return result

        return watched

    def _full_fsync(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(descriptor: int, command: int, *args: Any) -> Any:
            result = call(descriptor, command, *args)
            if command == FULL_FSYNC:
                self._look()
                self._flushed(descriptor)
            return result

        return watched

    def _renaming(self, call: Callable[..., None]) -> Callable[..., None]:
        def renamed(source: Any, target: Any, **kwargs: Any) -> None:
            self._look()
            call(source, target, **kwargs)
            old, new = (os.path.relpath(os.fspath(path), self._root) for path in (source, target))
            if old.startswith("..") or new.startswith(".."):
                return  # found by the next look as created or removed
            self._do(Operation("rename", self._tree.paths[old], old, new))
            for path in [each for each in self._stamps if each == new or each.startswith(f"{new}/")]:
                del self._stamps[path]
            for path in [each for each in self._stamps if each == old or each.startswith(f"{old}/")]:
                self._stamps[new + path.removeprefix(old)] = self._stamps.pop(path)

        return renamed

    def _flushed(self, descriptor: int) -> None:
        identity = os.fstat(descriptor).st_ino
        for path, stamp in self._stamps.items():
            if stamp[0] == identity:
                self.log.append(Operation("flush", self._tree.paths[path], path, after=self._tree.contents[self._tree.paths[path]]))
                return
        if Path(self._root).stat().st_ino == identity:
            self.log.append(Operation("flush", 0))

    def _do(self, done: Operation) -> None:
        self._tree.apply(done)
        self.log.append(done)

    def _look(self) -> None:
        """Find what has changed since the last look."""
        if self._quiet:
            return
        self._quiet = True  # looking opens files itself
        try:
            found = dict(self._walk(self._root, ""))
            for path in sorted(self._stamps.keys() - found.keys(), reverse=True):
                self._forget(path)
            for path, stamp in found.items():
                known = self._stamps.get(path)
                if known == stamp:
                    continue
                if known and known[0] != stamp[0]:
                    self._forget(path)
                self._note(path, stamp)
        finally:
            self._quiet = False

    def _forget(self, path: str) -> None:
        self._do(Operation("remove", self._tree.paths[path], path))
        del self._stamps[path]

    def _note(self, path: str, stamp: tuple[int, ...]) -> None:
        content = None if stamp[1] < 0 else Path(self._root, path).read_bytes()
        if path not in self._tree.paths:
            self._do(Operation("create", next(self._numbers), path, after=None if content is None else b""))
        node = self._tree.paths[path]
        before = self._tree.contents[node]
        if before != content:
            self._do(Operation("write", node, path, before=before, after=content))
        self._stamps[path] = stamp

    def _walk(self, folder: str, under: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = f"{under}{entry.name}"
                state = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    yield path, (state.st_ino, -1)
                    yield from self._walk(entry.path, f"{path}/")
                else:
                    yield path, (state.st_ino, state.st_size, state.st_mtime_ns)


@dataclass(frozen=True)
class Crash:
    """What may lie on the drive after a crash when `done` operations were begun; `how` names what of them was lost."""

    done: int
    how: str
    tree: Tree


def crashes(begin: Tree, log: list[Operation]) -> Iterator[Crash]:
    """Yield every state: a kill after each operation, and a loss of power there.

    With the power, each write that no flush followed may be lost, torn or be NULs, one of them or all; each rename that no flush of its
    folder followed may be lost, with and without the data.
    """
    tree = begin.copy()
    for done in range(len(log) + 1):
        yield Crash(done, "killed", tree.copy())
        open_writes = _unflushed(begin, log[:done])
        for how, spoil in SPOILED.items():
            for chosen in {(node,) for node in open_writes} | {tuple(open_writes)}:
                if chosen:
                    yield Crash(done, f"{how} {len(chosen)}", _spoiled(tree, open_writes, chosen, spoil))
        for number in _unflushed_renames(begin, log[:done]):
            without = begin.copy()
            for place, each in enumerate(log[:done]):
                if place != number:
                    without.apply(each)
            yield Crash(done, f"rename lost: {log[number].path}", without)
            bare = _spoiled(without, open_writes, tuple(open_writes), SPOILED["lost"])
            yield Crash(done, f"rename and data lost: {log[number].path}", bare)
        if done < len(log):
            tree.apply(log[done])


def last_flush(log: list[Operation], done: int) -> int:
    """Return how many operations are on the drive for sure after `done` of them, on a file system that keeps their order."""
    return max((place + 1 for place, each in enumerate(log[:done]) if each.kind == "flush"), default=0)


def _torn(before: bytes, after: bytes) -> bytes:
    return before + after[len(before) : (len(before) + len(after)) // 2] if after.startswith(before) else after[: len(after) // 2]


def _nuls(before: bytes, after: bytes) -> bytes:
    return before + bytes(len(after) - len(before)) if after.startswith(before) else bytes(len(after))


SPOILED: dict[str, Callable[[bytes, bytes], bytes]] = {"lost": lambda before, _: before, "torn": _torn, "NULs": _nuls}


def _spoiled(tree: Tree, open_writes: dict[int, bytes], chosen: tuple[int, ...], spoil: Callable[[bytes, bytes], bytes]) -> Tree:
    spoiled = tree.copy()
    for node in chosen:
        spoiled.contents[node] = spoil(open_writes[node], tree.contents.get(node) or b"")
    return spoiled


def _unflushed(begin: Tree, log: list[Operation]) -> dict[int, bytes]:
    """Return the files that were written since their last flush, with what is on the drive of each for sure."""
    safe: dict[int, bytes] = {node: content for node, content in begin.contents.items() if content is not None}
    written: set[int] = set()
    for each in log:
        if each.kind == "create" and each.after is not None:
            safe[each.node] = b""
        elif each.kind == "write":
            written.add(each.node)
        elif each.kind == "flush" and each.after is not None:
            safe[each.node] = each.after
            written.discard(each.node)
    return {node: safe[node] for node in sorted(written)}


def _unflushed_renames(begin: Tree, log: list[Operation]) -> list[int]:
    """Return the places of the renames that no flush of the folder they went to has followed."""
    tree = begin.copy()
    waiting: dict[int, int] = {}
    for place, each in enumerate(log):
        if each.kind == "rename":
            waiting[place] = tree.paths.get(each.target.rpartition("/")[0], 0)
        elif each.kind == "flush":
            waiting = {number: parent for number, parent in waiting.items() if parent != each.node}
        tree.apply(each)
    return list(waiting)
