"""Paths as people paste them, from Windows, WSL, a file manager: what is certain is understood, the rest is refused with a way on."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from tunesmith.errors import UserError
from tunesmith.i18n.catalog import error_words
from tunesmith.system import paths
from tunesmith.system.paths import typed_path

HOME = Path("/home/ada")
EVERYWHERE = [
    ("/data/x.jsonl", "/data/x.jsonl"), ("  /data/x.jsonl \n", "/data/x.jsonl"), ("\u3000/data/x\u3000", "/data/x"),
    ('"/data/my x"', "/data/my x"), ("'/data/x'", "/data/x"), (' " /data/x " ', "/data/x"), ("“/data/x”", "/data/x"),
    ("「/data/x」", "/data/x"), ('"/data/x', '"/data/x'), ("/data/it's", "/data/it's"), ("~/x", "/home/ada/x"), ("~", "/home/ada"),
    ('"~/x"', "/home/ada/x"), ("~nobody-here/x", "~nobody-here/x"), ("file:///Users/ada/x", "/Users/ada/x"),
    ("file://localhost/Users/x", "/Users/x"), ("FILE:/Users/x", "/Users/x"), ("file:///Users/my%20x/%E6%9D%B1", "/Users/my x/東"),
    ('"file:///Users/x"', "/Users/x"), ("data/x", "data/x"), ("x", "x"), ("", "."), ("/mnt/c/Users/x", "/mnt/c/Users/x"),
    ("a:b", "a:b"), ("/a/C:/b", "/a/C:/b"), ("//data/x", "//data/x"), ("/a\\b", "/a\\b"),
]  # fmt: skip
WINDOWS = [
    ("C:\\Users\\ada\\data.jsonl", "c/Users/ada/data.jsonl"), ('"C:\\Users\\my x\\"', "c/Users/my x"), ("c:/Users/x", "c/Users/x"),
    ("C:\\", "c"), ("file:///C:/Users/my%20x", "c/Users/my x"), ("C:\\\\Users\\\\x", "c/Users/x"), ("C:\\Users/x\\y", "c/Users/x/y"),
    ("D:\\東京\\x", "d/東京/x"),
]  # fmt: skip
OWN = [
    "\\\\wsl$\\Ubuntu\\home\\ada\\x", "\\\\wsl.localhost\\Ubuntu\\home\\ada\\x", "//wsl.localhost/Ubuntu/home/ada/x",
    "\\\\WSL$\\ubuntu\\home\\ada\\x\\", '"\\\\wsl$\\Ubuntu\\home\\ada\\x"', "file://wsl.localhost/Ubuntu/home/ada/x",
    "file://wsl$/Ubuntu/home/ada/x",
]  # fmt: skip
NOT_HERE = [
    "\\\\wsl$\\Debian\\home\\x", "\\\\wsl.localhost\\Debian\\x", "\\\\server\\share\\x", "file://server/share/x", "\\\\?\\C:\\x",
    "\\\\server", "\\\\", "E:\\x",
]  # fmt: skip


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(HOME))
    monkeypatch.delenv("WSL_DISTRO_NAME", raising=False)
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-generic")


@pytest.fixture
def wsl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A WSL called Ubuntu, where the drives C and D are mounted."""
    monkeypatch.setenv("WSL_DISTRO_NAME", "Ubuntu")
    monkeypatch.setattr(paths, "WSL_DRIVES", tmp_path)
    for drive in "cd":
        (tmp_path / drive).mkdir()
    return tmp_path


@pytest.mark.parametrize(("text", "path"), EVERYWHERE)
@pytest.mark.parametrize("in_wsl", [False, True])
def test_what_is_certain_anywhere(request: pytest.FixtureRequest, in_wsl: bool, text: str, path: str) -> None:
    if in_wsl:
        request.getfixturevalue("wsl")
    assert typed_path(text) == Path(path)


@pytest.mark.parametrize(("text", "path"), WINDOWS)
def test_a_drive_is_where_wsl_mounts_it(wsl: Path, monkeypatch: pytest.MonkeyPatch, text: str, path: str) -> None:
    assert typed_path(text) == wsl / path
    monkeypatch.delenv("WSL_DISTRO_NAME")  # a service has no such variable, but the kernel is Microsoft's
    monkeypatch.setattr(platform, "release", lambda: "5.15.153.1-microsoft-standard-WSL2")
    assert typed_path(text) == wsl / path


@pytest.mark.parametrize("text", OWN)
def test_this_very_system_seen_from_windows(wsl: Path, text: str) -> None:
    assert typed_path(text) == HOME / "x"


@pytest.mark.parametrize("text", [*(text for text, _ in WINDOWS), *OWN, *NOT_HERE])
def test_what_is_not_seen_here_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """On a Mac, and on a Linux that happens to have such a folder."""
    monkeypatch.setattr(paths, "WSL_DRIVES", tmp_path)
    (tmp_path / "c").mkdir()
    with pytest.raises(UserError) as caught:
        typed_path(text)
    assert caught.value.code == "path_of_windows"
    assert "/mnt/c" in error_words(caught.value.code, caught.value.facts, "en")


@pytest.mark.parametrize("text", NOT_HERE)
def test_of_another_computer_even_in_wsl(wsl: Path, text: str) -> None:
    with pytest.raises(UserError) as caught:
        typed_path(text)
    assert caught.value.code == "path_of_windows"


def test_a_null_character_is_in_no_path() -> None:
    with pytest.raises(UserError) as caught:
        typed_path("/data/\0x")
    assert caught.value.code == "name_not_allowed"
