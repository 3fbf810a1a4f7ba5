"""What docs/operations.md says of places is where they are, and its commands do what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.system.paths import home_folder
from tunesmith.system.secret_files import secrets_folder

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
VARIABLES = ("TUNESMITH_DATA_DIR", "TUNESMITH_SECRETS_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME")


@pytest.mark.parametrize("system", ["darwin", "linux"])
def test_the_folders_are_named(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "platform", system)
    assert f'"$HOME/{home_folder().relative_to(Path.home())}"' in PAGE
    assert f"`~/{secrets_folder().relative_to(Path.home())}`" in PAGE


@pytest.mark.parametrize("system", ["darwin", "linux"])
def test_a_backup_comes_back_where_it_was(tmp_path: Path, system: str) -> None:
    blocks = re.findall(r"```sh\n(DATA=.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 1
    (places, pack, unpack) = blocks[0].strip().splitlines()
    of_linux, of_macos = re.findall(r'DATA="[^"]+"', places)
    place = of_macos if system == "darwin" else of_linux
    folder = tmp_path / place.removeprefix('DATA="$HOME/').removesuffix('"')
    (folder / "cache").mkdir(parents=True)
    (folder / "settings.yaml").write_text("lang: ja\n")

    def shell(command: str) -> None:
        subprocess.run(
            ["/bin/sh", "-ec", f"{place}\n{command}"], cwd=tmp_path, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, check=True
        )

    shell(pack)
    folder.rename(tmp_path / "lost")
    shell(unpack)
    assert [path.name for path in folder.iterdir()] == ["settings.yaml"]
