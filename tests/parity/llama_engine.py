"""The real llama.cpp that the tests ask: the library of a pinned npm package, which .ci/llama-engine puts into a cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tunesmith.export.llama_cpp_library import library_in

VERSION = "3.22.1"  # of the package; its llama.cpp calls itself 0.5.0-dev
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunesmith-tests" / f"node-llama-cpp-{VERSION}"


def engine_folder() -> Path:
    """Return the folder of the library; skip the test where there is none, unless TUNESMITH_TESTS_NEED_ENGINE is set."""
    for folder in sorted(CACHE.glob("node_modules/@node-llama-cpp/*/bins/*")):
        if library_in(folder):
            return folder
    if os.environ.get("TUNESMITH_TESTS_NEED_ENGINE"):
        pytest.fail("no llama.cpp: .ci/llama-engine installs it")
    pytest.skip("no llama.cpp for the tests: run .ci/llama-engine, which needs npm")
