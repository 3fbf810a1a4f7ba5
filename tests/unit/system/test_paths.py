"""The only way in for a name that a person gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.errors import UserError
from tunesmith.system.paths import home_folder, resolve_under


def test_a_child_is_resolved(tmp_path: Path) -> None:
    assert resolve_under(tmp_path, "run-1") == tmp_path / "run-1"


@pytest.mark.parametrize("name", ["..", ".", "", "a/../b", "/etc/passwd", ".hidden", "a\\b", "x\0"])
def test_everything_else_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_under(tmp_path, name)
    assert caught.value.code == "name_not_allowed"


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to("/etc")
    with pytest.raises(UserError):
        resolve_under(tmp_path / "root", "link")


def test_tests_never_touch_the_persons_own_data(data_dir: Path) -> None:
    assert home_folder() == data_dir
