"""Two thousand names that lead elsewhere, at every door that takes a name: none reads, writes, moves or deletes anything outside."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.idle_services import idle_services
from tunesmith.errors import UserError
from tunesmith.jobs.job import JobFolders
from tunesmith.services import exports, model_uploads, uploads
from tunesmith.services.context import Services
from tunesmith.services.datasets import open_store
from tunesmith.store.adapters import AdapterStore
from tunesmith.store.comparisons import ComparisonStore, PromptSetStore
from tunesmith.store.votes import ArenaStore
from tunesmith.system.paths import as_file_name

STEPS = (
    "..",
    "../..",
    "..\\..",
    "%2e%2e",
    "%2e%2e%2f",
    "..%2f",
    "..%5c",
    "..;",
    ".",
    "~",
    "$HOME",
    "．．",
    "‥",
    "\u2024\u2024",
    "..\u200b",
)
JOINTS = ("/", "\\", "//", "\\\\", "\0/", "%00/", "/./", "\u2215", "\uff0f", ":", " /", "/ ", "\n/", "\r\n")
ENDS = ("canary", "secret.txt", "etc/passwd", "canary\0", "canary.", "canary ", "CON", "", "%00canary", "-rf")
STARTS = ("", "/", "\\", "C:\\", "file://", "//host/share/", "\0", ".", " ")


def payloads() -> list[str]:
    """Return the names, shortest first, cut to two thousand."""
    made = {f"{a}{b}{c}{d}" for a, b, c, d in itertools.product(STARTS, STEPS, JOINTS, ENDS)}
    extra = {"", ".", "..", "/", "\\", "\0", "x" * 5000, "." * 300, "a/" * 500, "\ud800", ".git", ".trash", ".new-1"}
    return [*sorted(extra, key=len), *sorted(made, key=lambda name: (len(name), name))][:2000]


@pytest.fixture
def services(data_dir: Path) -> Iterator[Services]:
    del data_dir
    with idle_services() as opened:
        yield opened


def doors(s: Services) -> dict[str, Callable[[str], Any]]:
    """Return what takes a name; of those that make something, what was made."""
    store, own, arenas = s.store, AdapterStore(s.data_dir), ArenaStore(s.data_dir)
    comparisons, sets, data = ComparisonStore(s.data_dir), PromptSetStore(s.data_dir), open_store(s)
    return {
        "run folder": lambda name: store.folder(name).path, "run trashed": store.trash, "run restored": store.restore,
        "run renamed": lambda name: store.rename(name, "new"), "adapter folder": own.folder, "adapter trashed": own.trash,
        "adapter restored": own.restore, "data set trashed": data.trash, "data set restored": data.restore,
        "data set versions": data.versions, "comparison": comparisons.get, "comparison trashed": comparisons.trash,
        "comparison restored": comparisons.restore, "prompt set": sets.get, "prompt set trashed": sets.trash, "arena": arenas.get,
        "arena trashed": arenas.trash, "arena restored": arenas.restore, "job folder": JobFolders(s.data_dir / "jobs").folder,
        "job deleted": JobFolders(s.data_dir / "evaluations").delete, "export": lambda name: exports.find_made(s, name).path,
        "upload": lambda name: uploads.hold(s, [(name, io.BytesIO(b"x"))]),
        "uploaded model": lambda name: model_uploads.check_name(s, name),
        "upload of several": lambda name: uploads.hold(s, [(name, io.BytesIO(b"x")), ("other", io.BytesIO(b"x"))]),
        "file name": lambda name: s.data_dir / as_file_name(name, "otherwise"),
    }  # fmt: skip


def test_no_name_leads_outside(services: Services, tmp_path: Path) -> None:
    outside = {tmp_path / name: f"{name} is whole" for name in ("canary", "secret.txt", "experiment.json")}
    for path, content in outside.items():
        path.write_text(content)
    names = payloads()
    assert len(names) == 2000
    before = sorted(p for p in tmp_path.iterdir())
    escaped, crashed = [], []
    for door, enter in doors(services).items():
        for name in names:
            try:
                made = enter(name)
            except UserError:
                continue
            except Exception as error:  # noqa: BLE001 any other is a crash on somebody's page
                crashed.append((door, name[:60], repr(error)[:80]))
                continue
            if isinstance(made, Path) and not made.resolve().is_relative_to(services.data_dir.resolve()):
                escaped.append((door, name, made))
            if isinstance(made, Path) and made.resolve() == services.data_dir.resolve():
                escaped.append((door, name, made))
    assert escaped == []
    assert {door: [c[1:] for c in crashed if c[0] == door][:2] for door in {c[0] for c in crashed}} == {}
    assert sorted(p for p in tmp_path.iterdir()) == before
    assert {path: path.read_text() for path in outside} == outside
