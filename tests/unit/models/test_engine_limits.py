"""What the engine wants of the system, before it is imported."""

from __future__ import annotations

import resource

import pytest

from tunesmith.errors import UserError
from tunesmith.models import blas


def test_an_account_that_may_open_too_few_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """mlx_lm raises its limits when it is imported: an ordinary account below them got `not allowed to raise maximum limit`."""

    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    with pytest.raises(UserError) as caught:
        blas.prepare_engine()
    assert caught.value.code == "open_files_limited"
    assert caught.value.facts["needed"] == 4096
