"""Which processor MLX will use here, told without asking it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tunesmith.system import device

ON_LINUX = pytest.mark.skipif(sys.platform == "darwin", reason="a Mac's processor is told by its kind")


@ON_LINUX
@pytest.mark.parametrize(("package", "name"), [("mlx_cuda_13-0.32.4.dist-info", "cuda"), ("mlx_cpu-0.32.4.dist-info", "cpu")])
def test_an_installed_cuda_engine_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str) -> None:
    (tmp_path / package).mkdir()
    monkeypatch.setattr(sys, "path", ["", "gone.zip", str(tmp_path)])
    assert device.device_name.__wrapped__() == name
