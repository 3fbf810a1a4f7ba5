"""The files of one version of a data set as they are written: JSON lines per split, their hashes, the counts."""

from __future__ import annotations

import errno
import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import orjson

from tunesmith.data.census import Census
from tunesmith.data.formats import row_kind
from tunesmith.data.library import find_splits
from tunesmith.data.plain_lines import Verdict

_BLOCK_ROWS = 512
_WAITING_BLOCKS = 16
_PIECE_BYTES = 262_144


class VersionWriter:
    """Writes `<split>.jsonl` into an empty folder; a split begins with its first row."""

    def __init__(self, folder: Path) -> None:
        self.census = Census()
        self._folder = folder
        self._splits: dict[str, _SplitWriter] = {}

    def __enter__(self) -> VersionWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for split in self._splits.values():
            split.close()

    def add(self, split: str, value: Mapping[str, Any], kind: str = "") -> None:
        """Write a row. Raises OSError when the disk is full."""
        line = orjson.dumps(value)
        self.census.note_row(split, kind or row_kind(value), line)
        self._split(split).add(line)

    def add_range(self, split: str, path: Path, begin: int, end: int, verdict: Verdict) -> None:
        """Take over a range of a file whose lines are plain rows."""
        self.census.note_range(split, verdict)
        if verdict.text is None:
            self._split(split).copy(path, begin, end)
        else:
            self._split(split).add_text(verdict.text)

    def hash_if_copied(self, size_bytes: int) -> str:
        """Return the hash of a file of that size if copied ranges are all that was written, else nothing."""
        (split, *more) = self._splits.values() or [None]
        return split.digest.hexdigest() if split and not more and split.copied_bytes == split.written_bytes == size_bytes else ""

    def _split(self, split: str) -> _SplitWriter:
        if split not in self._splits:
            self._splits[split] = _SplitWriter(self._folder / f"{split}.jsonl")
        return self._splits[split]

    def hashes(self) -> dict[str, str]:
        """Return each split's SHA-256 once all is written."""
        return {name: split.digest.hexdigest() for name, split in sorted(self._splits.items())}


class _SplitWriter:
    """Writes and hashes blocks in a thread of its own, which needs no interpreter; at most 16 blocks wait."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("wb", buffering=0)
        self._held: list[bytes] = []
        self._thread = ThreadPoolExecutor(1)
        self._writing: deque[Future[None]] = deque()
        self.digest = hashlib.sha256()
        self._buffer = memoryview(bytearray(_PIECE_BYTES))
        self.copied_bytes = self.written_bytes = 0

    def add(self, line: bytes) -> None:
        self._held.append(line)
        if len(self._held) >= _BLOCK_ROWS:
            self._flush()

    def add_text(self, text: bytes) -> None:
        """Let the thread write whole lines."""
        if self._held:
            self._flush()
        self._submit(lambda: self._write(text))

    def copy(self, path: Path, begin: int, end: int) -> None:
        """Let the thread copy a range of a file."""
        if self._held:
            self._flush()
        self.copied_bytes += end - begin
        self._submit(lambda: self._copy(path, begin, end))

    def _copy(self, path: Path, begin: int, end: int) -> None:
        with path.open("rb", buffering=0) as file:
            file.seek(begin)
            while begin < end:  # small pieces in one buffer stay in the processor's cache while they are hashed and written
                size = file.readinto(self._buffer[: min(_PIECE_BYTES, end - begin)])
                if not size:
                    raise OSError(errno.EIO, "the source became shorter while it was read")
                self._write(self._buffer[:size])
                begin += size

    def _flush(self) -> None:
        block = b"\n".join([*self._held, b""])
        self._held.clear()
        self._submit(lambda: self._write(block))

    def _submit(self, work: Callable[[], None]) -> None:
        if len(self._writing) >= _WAITING_BLOCKS:
            self._writing.popleft().result()
        self._writing.append(self._thread.submit(work))

    def _write(self, block: bytes | memoryview) -> None:
        self.digest.update(block)
        self.written_bytes += len(block)
        left = memoryview(block)
        while left:
            left = left[self._file.write(left) :]

    def close(self) -> None:
        try:
            if self._held:
                self._flush()
            while self._writing:
                self._writing.popleft().result()
        finally:
            self._thread.shutdown()
            self._file.close()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder in the order of their names."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def hash_splits(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each split's file."""
    return {name: hash_file(path) for name, path in sorted(find_splits(folder).items())}
