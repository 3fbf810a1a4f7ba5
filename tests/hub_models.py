"""Models for the hub on loopback: the shipped one's real files, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.loopback_hub import LoopbackHub, Repository, serve_hub
from tunesmith.system.paths import DEMO_MODEL

TOLD = {
    "tags": ["mlx", "safetensors", "license:cc0-1.0"], "likes": 3, "downloads": 10, "config": {"model_type": "qwen3"},
    "safetensors": {"parameters": {"BF16": 2_493_184}, "total": 2_493_184},
}  # fmt: skip
WEIGHTS = (DEMO_MODEL / "model.safetensors").read_bytes()


def demo_repository(files: dict[str, bytes] | None = None, **facts: Any) -> Repository:
    """Return the shipped model as a repository, with files added or replaced, and facts of its description."""
    own = {path.name: path.read_bytes() for path in DEMO_MODEL.iterdir()}
    return Repository(own | {"LICENSE": b"Do what you like.\n"} | (files or {}), facts=TOLD | facts)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """The hub of the environment, asked without a token; it has the shipped model as `team/tiny`."""
    with serve_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        served.models["team/tiny"] = demo_repository()
        yield served
