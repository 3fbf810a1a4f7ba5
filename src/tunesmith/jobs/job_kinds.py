"""The kinds of jobs: a name, whether it needs the accelerator, and what it does. Imports the engine only when a job runs.

A request is plain JSON with absolute paths; services make it. A result is plain JSON too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tunesmith.system.progress import Report

Request = Mapping[str, Any]


@dataclass(frozen=True)
class JobKind:
    """`place` is `module:function` under `tunesmith.jobs.work`, called with the request and who is told of progress.

    `uses_torch`: a library of its own asks for torch, where that is installed.
    """

    place: str
    computes: bool = True
    uses_torch: bool = False

    @property
    def run(self) -> Callable[[Request, Report], dict[str, Any]]:
        """What the job does; imports mlx."""
        module, name = self.place.split(":")
        found: Callable[[Request, Report], dict[str, Any]] = getattr(import_module(f"tunesmith.jobs.work.{module}"), name)
        return found


KINDS: Mapping[str, JobKind] = {
    "map_conflicts": JobKind("fusing:map_conflicts", computes=False),
    "fuse": JobKind("fusing:fuse"),
    "sweep_weights": JobKind("fusing:sweep_weights"),
    "fuse_into_base": JobKind("models:fuse_into_base"),
    "quantize": JobKind("models:quantize"),
    "download_model": JobKind("downloads:download_model", computes=False),  # takes the accelerator only to convert
    "take_model": JobKind("uploaded_models:take_model", computes=False),
    "pack_runs": JobKind("packing:pack_runs", computes=False),
    "adopt_adapter": JobKind("adapters:adopt_adapter", computes=False),
    "import_adapter": JobKind("adapters:import_adapter", computes=False),
    "export_peft": JobKind("adapters:export_peft"),
    "export_gguf": JobKind("exports:export_gguf"),
    "export_gguf_lora": JobKind("exports:export_gguf_lora"),
    "export_lmstudio": JobKind("exports:export_lmstudio"),
    "export_ollama": JobKind("exports:export_ollama"),
    "upload": JobKind("uploading:upload", computes=False),
    "benchmark": JobKind("benchmarking:benchmark", uses_torch=True),
    "evaluate": JobKind("evaluation:evaluate"),
    "judge": JobKind("judging:judge", computes=False),  # takes the accelerator only while a model of ours answers
}
