"""A GGUF file in fewer bits than eight, by llama.cpp itself: its program, or its library in a child process. Knows no proof."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import gguf

from tunesmith.errors import UserError
from tunesmith.export.gguf import export_gguf
from tunesmith.export.gguf_reading import count_types, file_type, open_gguf
from tunesmith.export.llama_cpp import LONGEST_SECONDS, THREADS, ask_llama_cpp, find_library
from tunesmith.export.llama_cpp_library import QUANTIZATIONS
from tunesmith.models.fused_weights import FusedWeights
from tunesmith.store.files import staged_folder
from tunesmith.store.saved_folders import whole_file
from tunesmith.system.progress import Report, silent

PROGRAM = "llama-quantize"
DENSE = {int(kind) for kind in (gguf.LlamaFileType.ALL_F32, gguf.LlamaFileType.MOSTLY_F16, gguf.LlamaFileType.MOSTLY_BF16)}


@dataclass(frozen=True)
class Quantizer:
    """Who quantises: `kind` is `program` or `library`, `path` the program or the library's folder."""

    kind: str
    path: Path


@dataclass(frozen=True)
class Quantized:
    """What came out: how many tensors of each type, and those whose rows 256 does not divide, so that llama.cpp chose another type."""

    quantizer: str
    types: dict[str, int]
    fallbacks: dict[str, str]


def find_quantizer(library: str = "") -> Quantizer:
    """Return the first of: llama-quantize on the PATH, a named library, the one of llama-cpp-python.

    Raises UserError `gguf_no_quantizer`, `gguf_library_missing`.
    """
    if program := shutil.which(PROGRAM):
        return Quantizer("program", Path(program))
    if folder := find_library(library):
        return Quantizer("library", folder)
    raise UserError("gguf_no_quantizer")


def export_quantized_gguf(
    weights: FusedWeights, source: Path, target: Path, kind: str, report: Report = silent, name: str = "", template: str | None = None,
    library: str = "",
) -> Quantized:  # fmt: skip
    """Write a model as `export_gguf` does, in a kind that only llama.cpp makes; a dense file stands beside `target` meanwhile.

    Raises UserError as `export_gguf` and `quantize_gguf`; then nothing is left.
    """
    find_quantizer(library)  # before hours of writing
    held = weights.config.get("torch_dtype") or weights.config.get("dtype")
    target.parent.mkdir(parents=True, exist_ok=True)
    with staged_folder(target.parent) as room:
        dense = room / "dense.gguf"
        export_gguf(weights, source, dense, "BF16" if held == "bfloat16" else "F16", report, name or source.name, template)
        return quantize_gguf(dense, target, kind, report, library)


def quantize_gguf(source: Path, target: Path, kind: str, report: Report = silent, library: str = "") -> Quantized:
    """Write a dense GGUF file in fewer bits; `kind` is a key of QUANTIZATIONS, as Q4_K_M.

    Raises UserError `setting_choice`, `gguf_no_quantizer`, `gguf_already_quantized`, `gguf_engine_failed`, `target_exists`, `disk_full`.
    """
    if kind not in QUANTIZATIONS:
        raise UserError("setting_choice", field="outtype", value=kind, choices=", ".join(QUANTIZATIONS))
    quantizer = find_quantizer(library)
    if file_type(open_gguf(source)) not in DENSE:
        raise UserError("gguf_already_quantized", file=source.name)
    report("quantizing", 0.0)
    with whole_file(target) as aside:
        if quantizer.kind == "program":
            _run_program(quantizer.path, source, aside, kind)
        else:
            ask_llama_cpp(quantizer.path, {"do": "quantize", "source": str(source), "target": str(aside), "kind": kind})
        made = open_gguf(aside)
    report("quantizing", 1.0)
    return Quantized(f"{quantizer.kind} {quantizer.path.name}", count_types(made), _fallbacks(made))


def _run_program(program: Path, source: Path, target: Path, kind: str) -> None:
    command = [str(program), str(source), str(target), kind, str(THREADS)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LONGEST_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError("gguf_engine_failed", reason=str(error)[:200]) from error
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise UserError("gguf_engine_failed", reason=" ".join([f"({done.returncode})", *last])[:300])


def _fallbacks(reader: gguf.GGUFReader) -> dict[str, str]:
    flat = (tensor for tensor in reader.tensors if len(tensor.shape) > 1)
    return {tensor.name: tensor.tensor_type.name for tensor in flat if int(tensor.shape[0]) % gguf.QK_K}
