"""Folders, zip and gzip: which files are read, of which split, and what an archive may not hold."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tunesmith.data.formats import Row
from tunesmith.data.readers.archives import split_of
from tunesmith.data.readers.source import Budget, inspect_source, iterate_rows
from tunesmith.errors import UserError

A, B, C = (f'{{"text": "{name}"}}\n'.encode() for name in "abc")
DEFAULT = Budget()


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def texts(path: Path) -> list[tuple[str, int, Any]]:
    return [(split, item.line, item.value["text"]) for split, item in iterate_rows(path) if isinstance(item, Row)]


def refusal(path: Path, budget: Budget = DEFAULT) -> tuple[str, dict[str, object]]:
    with pytest.raises(UserError) as caught:
        list(iterate_rows(path, budget))
    return caught.value.code, caught.value.facts


@pytest.fixture
def mine(tmp_path: Path) -> Any:
    """Return a function: bytes to the path of a file that holds them."""

    def write(content: bytes) -> Path:
        path = tmp_path / "mine"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl", "train"),
        ("Training_data.csv", "train"),
        ("validation-00000-of-00002.parquet", "valid"),
        ("val.json", "valid"),
        ("dev-2.csv", "valid"),
        ("a/b/test.txt", "test"),
        ("trainer.jsonl", ""),
        ("mytest.jsonl", ""),
        ("devices.csv", ""),
    ],
)
def test_a_name_tells_the_split(name: str, split: str) -> None:
    assert split_of(name) == split


def test_a_folder_of_splits(tmp_path: Path) -> None:
    for name, content in {
        "train.jsonl": A + B,
        "valid.csv": b"text,n\nc,1\n",
        "test.jsonl.gz": gzip.compress(C),
        "notes.txt": b"x",
    }.items():
        (tmp_path / name).write_bytes(content)
    assert sorted(texts(tmp_path)) == [("test", 1, "c"), ("train", 1, "a"), ("train", 2, "b"), ("valid", 2, "c")]
    assert inspect_source(tmp_path).files == {"train": ("train.jsonl",), "valid": ("valid.csv",), "test": ("test.jsonl.gz",)}


def test_a_folder_without_splits_is_all_training_data(tmp_path: Path) -> None:
    for name, content in {"b.jsonl": B, "a.jsonl": A, "README.md": b"# hello\n", ".hidden": b"x"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    assert texts(tmp_path) == [("train", 1, "a"), ("train", 1, "b")]


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty") == ("data_folder_empty", {"folder": str(tmp_path / "empty")})


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.jsonl")
    assert refusal(tmp_path / "train.jsonl")[0] == "data_file_missing"
    assert refusal(tmp_path)[0] == "data_folder_empty"


def test_a_zip_of_splits(mine: Any) -> None:
    path = mine(zipped({"set/train.jsonl": A, "set/dev.jsonl": B, "set/README.md": b"# x", "__MACOSX/set/._train.jsonl": b"\0"}))
    assert sorted(texts(path)) == [("train", 1, "a"), ("valid", 1, "b")]
    assert inspect_source(path).files == {"train": ("set/train.jsonl",), "valid": ("set/dev.jsonl",)}


def test_a_zip_of_one_file_takes_its_encoding(mine: Any) -> None:
    path = mine(zipped({"data.csv": "prompt,text\n質問です,答えです\n".encode("cp932")}))
    assert texts(path) == [("train", 2, "答えです")]
    source = inspect_source(path)
    assert (source.format, source.encoding) == ("csv", "cp932")


def test_gzip_is_read_whole_even_in_pieces(mine: Any) -> None:
    assert texts(mine(gzip.compress(A) + gzip.compress(B))) == [("train", 1, "a"), ("train", 2, "b")]


def test_the_split_of_a_single_file_is_its_name(tmp_path: Path) -> None:
    (tmp_path / "valid.jsonl").write_bytes(A)
    assert texts(tmp_path / "valid.jsonl") == [("valid", 1, "a")]


@pytest.mark.parametrize(
    "name", ["../a.jsonl", "a/../../b.jsonl", "/etc/a.jsonl", "\\a.jsonl", "..\\a.jsonl", "C:\\a.jsonl", "c:a.jsonl", "\\\\host\\a.jsonl"]
)
def test_paths_out_of_the_archive_are_refused(mine: Any, name: str) -> None:
    assert refusal(mine(zipped({"train.jsonl": A, name: B}))) == ("archive_path_not_allowed", {"file": "mine", "entry": name})


def test_a_nul_in_a_name_is_refused(mine: Any) -> None:
    content = zipped({"train.jsonl_x": A}).replace(b"train.jsonl_x", b"train.jsonl\0x")
    assert refusal(mine(content)) == ("archive_path_not_allowed", {"file": "mine", "entry": "train.jsonl?x"})


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(mine: Any, kind: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("train.jsonl")
        entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    assert refusal(mine(buffer.getvalue())) == ("archive_path_not_allowed", {"file": "mine", "entry": "train.jsonl"})


def patched(content: bytes, offset: int, value: bytes) -> bytes:
    """Return a zip with a field of its one directory record overwritten."""
    at = content.index(b"PK\1\2") + offset
    return content[:at] + value + content[at + len(value) :]


def test_a_password_is_named(mine: Any) -> None:
    assert refusal(mine(patched(zipped({"train.jsonl": A}), 8, b"\1"))) == ("archive_encrypted", {"file": "mine", "entry": "train.jsonl"})


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_without_a_bound_on_memory_are_refused(mine: Any, method: int) -> None:
    facts = {"file": "mine", "entry": "train.jsonl", "method": method}
    assert refusal(mine(zipped({"train.jsonl": A * 50}, method))) == ("archive_method_unknown", facts)


def test_declared_sizes_are_held_to_the_budget(mine: Any) -> None:
    path = mine(zipped({"train.jsonl": A * 100}))  # 14 bytes each
    assert len(texts(path)) == 100
    assert refusal(path, Budget(bytes=1399)) == ("data_too_large", {"file": "mine", "most_bytes": 1399})


def test_a_file_larger_than_it_declares_is_refused(mine: Any) -> None:
    assert refusal(mine(patched(zipped({"train.jsonl": A * 100}), 24, struct.pack("<I", 14))))[0] == "data_file_broken"


def test_gzip_is_held_to_the_budget(mine: Any) -> None:
    path = mine(gzip.compress(b'{"text": "' + b"a" * 50_000_000 + b'"}\n'))
    assert path.stat().st_size < 100_000
    assert refusal(path, Budget(bytes=10_000_000)) == ("data_too_large", {"file": "mine", "most_bytes": 10_000_000})


@pytest.mark.parametrize(
    "content",
    [
        zipped({"train.zip": zipped({"train.jsonl": A})}),
        zipped({"train.jsonl.gz": gzip.compress(A)}),
        gzip.compress(gzip.compress(A)),
        gzip.compress(zipped({"train.jsonl": A})),
    ],
    ids=["zip in zip", "gzip in zip", "gzip in gzip", "zip in gzip"],
)
def test_archives_in_archives_are_refused(mine: Any, content: bytes) -> None:
    assert refusal(mine(content))[0] == "archive_nested"


def test_too_many_files_are_refused(mine: Any, tmp_path: Path) -> None:
    assert len(texts(mine(zipped({f"{i}.jsonl": A for i in range(1000)})))) == 1000
    assert refusal(mine(zipped({f"{i}.jsonl": A for i in range(1001)}))) == ("archive_too_many_files", {"file": "mine", "most": 1000})


@pytest.mark.parametrize(
    "content",
    [zipped({"train.jsonl": A * 50})[:60], gzip.compress(A * 50)[:-12], gzip.compress(A) + b"tail", b"PK\3\4", b"\x1f\x8b"],
    ids=["zip cut", "gzip cut", "gzip with a tail", "zip head", "gzip head"],
)
def test_damaged_archives_say_so(mine: Any, content: bytes) -> None:
    code, facts = refusal(mine(content))
    assert code == "data_file_broken"
    assert set(facts) == {"file", "reason"}
    assert facts["reason"]


def test_an_archive_without_files_is_empty(mine: Any) -> None:
    assert refusal(mine(zipped({}))) == ("data_file_empty", {"file": "mine"})
    assert refusal(mine(zipped({"a/": b""}))) == ("data_file_empty", {"file": "mine"})
