"""The container's file takes along what the app needs, and nothing that is not there."""

from __future__ import annotations

import re
import tomllib

from tunesmith.system.paths import REPOSITORY

CONTAINERFILE = (REPOSITORY / "Containerfile").read_text(encoding="utf-8")


def copied() -> set[str]:
    return {name.removeprefix("./") for line in re.findall(r"^COPY (.+)$", CONTAINERFILE, re.MULTILINE) for name in line.split()[:-1]}


def test_what_is_copied_is_there_and_let_through() -> None:
    let_through = {line[1:] for line in (REPOSITORY / ".containerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")}
    assert copied() == let_through
    assert all((REPOSITORY / name).exists() for name in copied())
    assert (REPOSITORY / ".dockerignore").read_bytes() == (REPOSITORY / ".containerignore").read_bytes()


def test_what_the_app_reads_is_copied() -> None:
    sources = [*(REPOSITORY / "src").rglob("*.py"), REPOSITORY / "app.py"]
    read = {name for source in sources for name in re.findall(r'REPOSITORY / "([^"]+)"', source.read_text(encoding="utf-8"))}
    read -= {".git"}  # a checkout's commit, unknown in a container
    assert {"app.py", "demo", "config", "pages"} <= read
    assert read <= copied()


def test_each_engine_is_an_extra_of_its_own() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert "ARG ENGINE=cpu" in CONTAINERFILE
    assert {"cpu", "cuda"} <= set(extras)
