"""What becomes of a model that was downloaded: written in MLX's layout, in 16 bits or fewer. Knows no network."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith.export.config import ARRIVAL_FORMS, ArrivalRules, QuantizeRules
from tunesmith.export.quantized import measure_quantization, quantize_folder
from tunesmith.jobs.job_kinds import Request
from tunesmith.jobs.job_worker import wait_for_accelerator
from tunesmith.jobs.work.folders import add_to_manifest
from tunesmith.models.cards import model_card
from tunesmith.models.fused_weights import fused_weights
from tunesmith.models.hub_files import is_licence
from tunesmith.models.safety import check_model_folder
from tunesmith.models.saving import save_model_folder
from tunesmith.system.memory import read_memory
from tunesmith.system.progress import Report

HALVES = ("float16", "bfloat16")
MEASURED_SHARE = 0.5  # of the free memory that a model may take to be measured


def convert_arrived(request: Request, source: Path, room: Path, form: ArrivalRules, report: Report) -> tuple[Path, dict[str, Any]]:
    """Write a model anew into a room of its own, in 16 bits or fewer; return its folder and, where memory allows, what fewer bits cost.

    Raises UserError `model_…`, `disk_full`.
    """
    made = room / source.name
    shutil.rmtree(room, ignore_errors=True)  # of a try that was broken off
    lineage, measured = request["lineage"], {}
    card = model_card(request["name"], lineage)
    bits = ARRIVAL_FORMS[form.form]
    lock = wait_for_accelerator(Path(request["slot"]), report)
    try:
        if bits == 16:
            config = check_model_folder(source)
            own = str(config.get("dtype") or config.get("torch_dtype"))
            weights = fused_weights(source, dtype="" if own in HALVES else "bfloat16")
            save_model_folder(
                made, source, weights.config, weights.tensors(), card, lineage, lambda share: report("converting", share), weights.count
            )  # fmt: skip
        else:
            quantize_folder(source, made, QuantizeRules(bits=bits, group_size=int(form.group_size)), card, lineage, report)
            if _fits(source):
                measured = asdict(measure_quantization(source, made, None, report))
                add_to_manifest(made, quantization=measured)
    finally:
        lock.release()
    for file in source.iterdir():
        if is_licence(file.name):
            shutil.copyfile(file, made / file.name)
    return made, measured


def _fits(model: Path) -> bool:
    size = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    return size < MEASURED_SHARE * read_memory().available_bytes
