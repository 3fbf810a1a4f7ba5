"""Ours beside independent implementations: trl's losses, other fusions, a real llama.cpp."""

from __future__ import annotations

from tunesmith.models.blas import prepare_engine

prepare_engine()  # before the first import of mlx

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

from tests.parity.llama_engine import engine_folder  # noqa: E402
from tunesmith.export.llama_cpp import LIBRARY_VARIABLE  # noqa: E402


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Path:
    """llama.cpp's library, named as a person would name it."""
    folder = engine_folder()
    monkeypatch.setenv(LIBRARY_VARIABLE, str(folder))
    return folder
