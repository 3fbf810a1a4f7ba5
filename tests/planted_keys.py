"""Keys that a test plants, and the search for them: in bytes, in archives, in pages, in what processes are started with."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import psutil
from streamlit.testing.v1 import AppTest

PIECE = 16  # characters of a key by chance; a key that was cut is found too
FRESH_SECONDS = 2.0


def forms_of(key: str) -> dict[str, str]:
    """Return a key as it may stand somewhere: quoted, escaped, turned round, in base64 at each of its three places, in hexadecimal."""
    raw = key.encode()
    found = {
        "plain": key, "without its signs": "".join(c for c in key if c.isalnum()), "URL-quoted": quote(key, safe=""),
        "HTML": html.escape(key), "JSON": json.dumps(key)[1:-1], "turned round": key[::-1], "hexadecimal": raw.hex(),
    }  # fmt: skip
    for before, cut in enumerate((0, 2, 3)):
        whole = (before + len(raw)) // 3 * 4
        text = base64.b64encode(b"\0" * before + raw).decode()[cut:whole]
        found |= {f"base64 {before}": text, f"base64 {before} for URLs": text.translate(str.maketrans("+/", "-_"))}
    return found


class Needles:
    """Finds planted keys, whole or a piece of them, in capitals or not."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._pieces = {
            (name, form, place): text[place : place + PIECE].lower().encode()
            for name, key in keys.items()
            for form, text in forms_of(key).items()
            for place in {0, (len(text) - PIECE) // 2, len(text) - PIECE}
        }
        assert all(len(piece) == PIECE for piece in self._pieces.values())

    def in_bytes(self, content: bytes) -> set[tuple[str, str]]:
        """Return (key, form) of what is found; archives are opened."""
        text = content.lower()
        found = {(name, form) for (name, form, _), piece in self._pieces.items() if piece in text}
        return found.union(*(self.in_bytes(inner) for inner in _unpack(content)))

    def in_folder(self, folder: Path, but: set[Path]) -> dict[str, set[tuple[str, str]]]:
        """Return what is found in the files below a folder and in their names; links are not followed."""
        files = [path for path in folder.rglob("*") if path.is_file() and path not in but]
        assert files
        told = {str(path.relative_to(folder)): self.in_bytes(path.read_bytes()) | self.in_bytes(str(path).encode()) for path in files}
        return {name: found for name, found in told.items() if found}


def _unpack(content: bytes) -> Iterator[bytes]:
    if content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    elif content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)


def browser_messages(app: AppTest) -> Iterator[str]:
    """Yield what the server sent to the browser, element by element."""

    def walk(node: Any) -> Iterator[str]:
        if hasattr(node, "proto"):
            yield str(node.proto)
        for child in getattr(node, "children", {}).values():
            yield from walk(child)

    yield from walk(app._tree)


class ProcessWatch:
    """Looks, again and again, at the commands and environments of the processes that work in a data folder."""

    def __init__(self, data_dir: Path, keys: Mapping[str, str]) -> None:
        self.commands: set[str] = set()
        self.holders: dict[str, set[str]] = {name: set() for name in keys}
        self._data_dir, self._keys = str(data_dir), keys
        self._others = set(psutil.pids())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessWatch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            for pid in psutil.pids():
                if pid not in self._others:
                    self._look(pid)

    def _look(self, pid: int) -> None:
        try:
            process = psutil.Process(pid)
            environment, command = process.environ(), " ".join(process.cmdline())
        except psutil.Error:
            return
        if not command:  # it ended between the two looks
            return
        if environment.get("TUNESMITH_DATA_DIR") != self._data_dir:
            if time.time() - process.create_time() > FRESH_SECONDS:  # before that it may not have become what it is started as
                self._others.add(pid)
            return
        self.commands.add(command)
        for name, key in self._keys.items():
            if any(key in value for value in environment.values()):
                self.holders[name].add(command)
