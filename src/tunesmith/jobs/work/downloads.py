"""The job that downloads a model from the hub: looked at before its weights come, converted if wanted, then ours as a whole.

What has come lies in the job's folder until then, so that the job can go on after it was cancelled, broken off or killed. The engine is
imported only when it is needed.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.export.config import ARRIVAL_FORMS, ArrivalRules
from tunesmith.jobs.job_kinds import Request
from tunesmith.models.folder_layout import MANIFEST
from tunesmith.models.hub import PART, HubModel, ModelHub
from tunesmith.models.hub_files import ModelFile
from tunesmith.models.safety import check_model_folder, check_model_settings
from tunesmith.settings.files import from_mapping
from tunesmith.store.files import put_in_place, worded, write_json
from tunesmith.store.saved_folders import require_free
from tunesmith.system.memory import require_space
from tunesmith.system.progress import Report
from tunesmith.system.secrets import HUB

ARRIVING, MADE = "arriving", "made"
LISTEN_SECONDS = 0.5


def download_model(request: Request, report: Report) -> dict[str, Any]:
    """Download a model at its commit and put it among ours. Raises UserError `hub_…`, `model_…`, `disk_…`, `target_exists`."""
    target, folder = Path(request["target_path"]), Path(request["folder"])
    arriving = folder / ARRIVING / target.name
    arriving.mkdir(parents=True, exist_ok=True)
    report("asking_hub", 0.0)
    with _listening(report) as tell:
        hub = ModelHub(os.environ.get(HUB))
        model = hub.describe(request["name"], request["hub"]["commit"])
        _receive(hub, model, arriving, tell)
    form = from_mapping(ArrivalRules, request["rules"])
    if ARRIVAL_FORMS[form.form]:
        from tunesmith.jobs.work.converting import convert_arrived

        whole, measured = convert_arrived(request, arriving, folder / MADE, form, report)
    else:
        write_json(arriving / MANIFEST, request["lineage"])
        whole, measured = arriving, {}
    _hand_over(whole, target)
    for room in (ARRIVING, MADE):
        shutil.rmtree(folder / room, ignore_errors=True)
    return {"model": target.name, "path": str(target), "licence": model.licence} | measured


def _receive(hub: ModelHub, model: HubModel, arriving: Path, report: Report) -> None:
    """Receive settings and tokenizer, look at them, then receive the weights, and look at all."""
    there = {file: _bytes_there(file, arriving) for file in model.files}
    require_space(arriving, model.size_bytes - sum(there.values()))

    def fetch(files: list[ModelFile]) -> None:
        for file in files:
            hub.download(model, file, arriving, partial(note, file))

    def note(file: ModelFile, received: int) -> None:
        there[file] = received
        report("downloading", sum(there.values()) / model.size_bytes)

    report("downloading", sum(there.values()) / model.size_bytes)

    try:
        fetch([file for file in model.files if not file.is_weights])
        config = check_model_settings(arriving)
        from tunesmith.models.weights import require_supported

        require_supported(config, arriving.name)
        fetch([file for file in model.files if file.is_weights])
        report("checking", 0.0)
        check_model_folder(arriving)
    except UserError as error:
        if error.code.startswith("model_"):
            shutil.rmtree(arriving, ignore_errors=True)  # another try would end in the same way
        raise


def _bytes_there(file: ModelFile, arriving: Path) -> int:
    paths = (arriving / name for name in (file.name, file.name + PART))
    return sum(path.stat().st_size for path in paths if path.exists())


@contextmanager
def _listening(report: Report) -> Iterator[Report]:
    """Give the report to be told; a signal repeats what was told last, so that a cancel is heard while the network is silent."""
    last = ("asking_hub", 0.0)

    def tell(phase: str, share: float) -> None:
        nonlocal last
        last = (phase, share)
        report(phase, share)

    before = signal.signal(signal.SIGALRM, lambda *_: report(*last))
    signal.setitimer(signal.ITIMER_REAL, LISTEN_SECONDS, LISTEN_SECONDS)
    try:
        yield tell
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _hand_over(folder: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    require_free(target)
    with worded(target):
        put_in_place(folder, target)
