"""The files of one version of a data set as they are written: JSON lines per split, their hashes, the counts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import orjson

from tunesmith.data.census import Census
from tunesmith.data.formats import row_kind
from tunesmith.data.library import find_splits

_BLOCK_ROWS = 512


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
        if split not in self._splits:
            self._splits[split] = _SplitWriter(self._folder / f"{split}.jsonl")
        self._splits[split].add(line)

    def hashes(self) -> dict[str, str]:
        """Return each split's SHA-256 once all is written."""
        return {name: split.digest.hexdigest() for name, split in sorted(self._splits.items())}


class _SplitWriter:
    """Writes and hashes blocks in a thread of its own, which needs no interpreter; at most one block waits."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("wb", buffering=0)
        self._held: list[bytes] = []
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self.digest = hashlib.sha256()

    def add(self, line: bytes) -> None:
        self._held.append(line)
        if len(self._held) >= _BLOCK_ROWS:
            self._flush()

    def _flush(self) -> None:
        block = b"\n".join([*self._held, b""])
        self._held.clear()
        if self._writing:
            self._writing.result()
        self._writing = self._thread.submit(self._write, block)

    def _write(self, block: bytes) -> None:
        self.digest.update(block)
        left = memoryview(block)
        while left:
            left = left[self._file.write(left) :]

    def close(self) -> None:
        try:
            if self._held:
                self._flush()
            if self._writing:
                self._writing.result()
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
