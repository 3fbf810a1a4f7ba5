"""A filled data folder in memory where there is such a place: thousands of states are written, and none needs to last."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.whole_store import fill


@pytest.fixture(scope="session")
def shelf() -> Iterator[Path]:
    """A folder for copies; `shelf / "filled"` has one or two of everything."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        fill(Path(folder) / "filled")
        yield Path(folder)


@pytest.fixture
def filled(shelf: Path) -> Iterator[Path]:
    """A copy of the filled folder."""
    with tempfile.TemporaryDirectory(dir=shelf) as folder:
        yield Path(shutil.copytree(shelf / "filled", Path(folder) / "data"))
