"""The files of a form, as browsers and curl send them, in pieces of any size; and what only looks like such a form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tunesmith.errors import UserError
from tunesmith.system.form_files import FormFiles

BOUNDARY = "----b0undary"
KIND = f"multipart/form-data; boundary={BOUNDARY}"


def part(content: bytes, disposition: str) -> bytes:
    return f"--{BOUNDARY}\r\ncontent-disposition: {disposition}\r\nContent-Type: text/x\r\n\r\n".encode() + content + b"\r\n"


def file(name: str, content: bytes) -> bytes:
    return part(content, f'form-data; name="file"; filename="{name}"')


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def take(folder: Path, body: bytes, pieces: int = 1 << 20, most: int = 1 << 20, wanted: Callable[[str], bool] = bool) -> FormFiles:
    folder.mkdir(exist_ok=True)
    taken = FormFiles(KIND, folder, wanted, most)
    try:
        for begin in range(0, len(body), pieces):
            taken.feed(body[begin : begin + pieces])
        taken.finish()
    finally:
        taken.close()
    return taken


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        act()
    return error.value.code


@pytest.mark.parametrize("pieces", [1, 2, 7, 1 << 20])
def test_files_come_as_they_were_whatever_the_pieces(tmp_path: Path, pieces: int) -> None:
    weights = bytes(range(256)) * 3 + f"\r\n--{BOUNDARY}x\r\n--{BOUNDARY[:-1]}".encode()
    body = form(file("config.json", b"{}"), part(b"Ada", 'form-data; name="who"'), file("model.safetensors", weights), file("empty", b""))
    taken = take(tmp_path / "in", body, pieces)
    assert taken.names == ["config.json", "model.safetensors", "empty"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()} == {
        "config.json": b"{}", "model.safetensors": weights, "empty": b"",
    }  # fmt: skip


def test_what_is_not_wanted_is_not_written(tmp_path: Path) -> None:
    body = form(file("evil.py", b"1"), file("config.json", b"{}"))
    assert take(tmp_path / "in", body, wanted=lambda name: name.endswith(".json")).names == ["config.json"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["config.json"]


@pytest.mark.parametrize("name", ["../up", "/etc/up", "..\\up", "C:\\x\\up", "a/b/../../up", "./up", "\u202e/up", "up\0"])
def test_a_name_is_a_file_name_and_never_a_path(tmp_path: Path, name: str) -> None:
    before = sorted(tmp_path.iterdir())
    take(tmp_path / "in", form(file(name, b"x")))
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["up"]
    assert sorted(tmp_path.iterdir()) == [*before, tmp_path / "in"]


@pytest.mark.parametrize("name", ["", ".", "..", "/", "...", "\x07"])
def test_a_file_without_a_name_is_none(tmp_path: Path, name: str) -> None:
    assert take(tmp_path / "in", form(file(name, b"x"))).names == []


def test_what_is_cut_short_or_no_form_is_said(tmp_path: Path) -> None:
    body = form(file("config.json", b"{}"))
    for broken in (body[:-6], body[: len(body) // 2], b"", b"plain words", body.replace(b"\r\n\r\n", b"\r\r")):
        assert code_of(lambda broken=broken: take(tmp_path / "in", broken)) == "form_broken"  # type: ignore[misc]
        for path in (tmp_path / "in").iterdir():
            path.unlink()
    for kind in ("", "text/plain", "multipart/form-data", "application/zip; boundary=x"):
        assert code_of(lambda kind=kind: FormFiles(kind, tmp_path, bool, 10)) == "form_broken"  # type: ignore[misc]


def test_two_of_one_name_and_too_much_are_refused(tmp_path: Path) -> None:
    twice = form(file("config.json", b"{}"), file("sub/config.json", b"[]"))
    assert code_of(lambda: take(tmp_path / "in", twice)) == "upload_file_twice"
    large = form(file("model.safetensors", b"x" * 1000))
    assert code_of(lambda: take(tmp_path / "more", large, pieces=100, most=len(large) - 1)) == "upload_too_large"
    assert take(tmp_path / "fits", large, pieces=100, most=len(large)).names == ["model.safetensors"]
