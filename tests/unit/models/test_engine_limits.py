"""What the engine wants of the system, before it is imported."""

from __future__ import annotations

import importlib.util
import resource
import sys
from pathlib import Path

import pytest

import tunesmith
from tunesmith.errors import UserError
from tunesmith.models import blas

SOURCE = Path(tunesmith.__file__).parent


def test_an_account_that_may_open_too_few_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """mlx_lm raises its limits when it is imported: an ordinary account below them got `not allowed to raise maximum limit`."""

    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    with pytest.raises(UserError) as caught:
        blas.prepare_engine()
    assert caught.value.code == "open_files_limited"
    assert caught.value.facts["needed"] == 4096


def test_a_worker_starts_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers imports an installed torch when it is imported, which tripled a worker's start and its memory."""
    with monkeypatch.context() as modules:
        modules.setattr(sys, "modules", {name: module for name, module in sys.modules.items() if name.split(".")[0] != "torch"})
        blas.prepare_worker()
        assert importlib.util.find_spec("torch") is None
    with_torch = {path.name for path in SOURCE.rglob("*.py") if "prepare_engine" in path.read_text(encoding="utf-8")}
    assert with_torch == {"blas.py", "job_worker.py"}  # a job whose library asks for torch says so
