"""Finds llama.cpp on this machine and asks it, in a child process. Knows no GGUF and no MLX.

Looked for, in this order: a folder that is given, the folder that the environment variable TUNESMITH_LIBLLAMA names, the library inside
the package llama-cpp-python, the one installed with the programs on the PATH (as Homebrew does).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from tunesmith.errors import UserError
from tunesmith.export.llama_cpp_library import library_in

LIBRARY_VARIABLE = "TUNESMITH_LIBLLAMA"
PROGRAMS = ("llama-quantize", "llama-server", "llama-cli")
THREADS = max(1, min(8, (os.cpu_count() or 2) // 2))  # its threads wait by spinning: one too many makes it crawl
LONGEST_SECONDS = 3600.0


def find_library(folder: str | Path = "") -> Path | None:
    """Return the folder of llama.cpp's library, None when there is none. Raises UserError `gguf_library_missing` for a named folder."""
    for named in (str(folder), os.environ.get(LIBRARY_VARIABLE, "")):
        if named:
            if library_in(Path(named)) is None:
                raise UserError("gguf_library_missing", folder=named)
            return Path(named)
    return next((place for place in _usual_places() if library_in(place)), None)


def _usual_places() -> list[Path]:
    places = []
    package = importlib.util.find_spec("llama_cpp")
    if package and package.origin:
        places.append(Path(package.origin).parent / "lib")
    for program in PROGRAMS:
        if found := shutil.which(program):
            home = Path(found).resolve().parent
            places += [home, home.parent / "lib"]
    return places


def ask_llama_cpp(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Return what llama.cpp answers to a request of `llama_cpp_child`. Raises UserError `gguf_engine_failed`."""
    command = [sys.executable, "-m", "tunesmith.export.llama_cpp_child"]
    request = {"folder": str(folder), "threads": THREADS} | request
    try:
        done = subprocess.run(command, input=orjson.dumps(request), capture_output=True, timeout=LONGEST_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError("gguf_engine_failed", reason=f"{LONGEST_SECONDS:.0f} s") from error
    if done.returncode != 0:  # an abort or a crash of the library
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise UserError("gguf_engine_failed", reason=" ".join([f"({done.returncode})", *last])[:300])
    answer: dict[str, Any] = orjson.loads(done.stdout.strip().splitlines()[-1])
    if "error" in answer:
        raise UserError("gguf_engine_failed", reason=answer["error"])
    return answer
