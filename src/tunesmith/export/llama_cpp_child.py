"""The child process in which llama.cpp works: an abort of its ends this process only. Reads one request, prints one answer, in JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tunesmith.export.llama_cpp_library import LlamaCpp, LlamaCppError, LoadedGguf


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Do what the request says: `quantize`, or cut the texts, answer the prompts and save the prompts' logits [sum of T, V]."""
    library = LlamaCpp(Path(request["folder"]))
    found: dict[str, Any] = {"version": library.version()}
    if request["do"] == "quantize":
        library.quantize(Path(request["source"]), Path(request["target"]), request["kind"], request["threads"])
        return found
    adapter = Path(request["adapter"]) if request.get("adapter") else None
    model = LoadedGguf(library, Path(request["model"]), request["context_tokens"], request["threads"], adapter)
    answers = [model.answer(prompt, request["answer_tokens"]) for prompt in request["prompts"]]
    np.save(request["logits"], np.concatenate([seen for _, seen in answers]))
    return found | {
        "texts": [model.tokenize(text) for text in request["texts"]], "ends": model.ends(), "answers": [answer for answer, _ in answers],
    }  # fmt: skip


def main() -> None:
    """Answer the request on standard input."""
    try:
        answer = work(orjson.loads(sys.stdin.buffer.read()))
    except LlamaCppError as error:
        answer = {"error": str(error)}
    sys.stdout.buffer.write(b"\n" + orjson.dumps(answer) + b"\n")


if __name__ == "__main__":
    main()
