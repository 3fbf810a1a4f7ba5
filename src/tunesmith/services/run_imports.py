"""Runs that other tools made become ended experiments here: their curves, their log, if there is one their adapter."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.access.people import TRAINER
from tunesmith.data.readers.archives import printable
from tunesmith.data.training_logs import ForeignRun, Record, read_training_log
from tunesmith.errors import UserError
from tunesmith.jobs.summary import summarise
from tunesmith.services import jobs
from tunesmith.services.context import Services
from tunesmith.services.models import find_model
from tunesmith.services.rights import needs
from tunesmith.services.run_packages import ImportedRun, import_package
from tunesmith.settings.files import from_mapping, to_yaml
from tunesmith.store.experiments import Experiment
from tunesmith.store.files import read_json, sha256_of, write_atomic
from tunesmith.store.labels import LONGEST_NAME
from tunesmith.store.run_folder import RunFolder
from tunesmith.system.progress import Progress, silent
from tunesmith.training.config import TrainConfig
from tunesmith.training.events import Recorder

PACKAGE_SUFFIX = ".zip"
MOST_STEPS = 1_000_000  # of a run's settings
# what mlx-lm writes beside an adapter that means the same here; its schedules and optimiser options are laid out otherwise
TAKEN_SETTINGS = (
    "iters", "batch_size", "learning_rate", "num_layers", "max_seq_length", "fine_tune_type", "optimizer", "seed", "grad_checkpoint",
    "steps_per_report", "steps_per_eval", "val_batches", "save_every", "grad_accumulation_steps", "epochs",
)  # fmt: skip


@needs(TRAINER)
def import_file(
    s: Services, path: Path, name: str = "", model: str = "", adapter: Path | None = None, progress: Progress = silent
) -> tuple[list[ImportedRun], str]:
    """Take in a package of ours or another tool's log; return the runs, and the id of the job that brings the adapter if one was named.

    Raises what `import_package` and `import_log` raise.
    """
    if path.suffix.lower() == PACKAGE_SUFFIX:
        return import_package(s, path, progress), ""
    run = import_log(s, path, name, model, adapter)
    return [run], start_adapter(s, run, adapter, model) if adapter else ""


@needs(TRAINER)
def import_log(s: Services, path: Path, name: str = "", model: str = "", adapter: Path | None = None) -> ImportedRun:
    """Make a completed experiment of a log: mlx-lm's output, trainer_state.json, trainer_log.jsonl, or a CSV file with a column of steps.

    `adapter` is a folder whose settings tell more of the run; `start_adapter` brings it. Raises UserError `log_…`, `file_missing`,
    `model_…` for a base that is named and unknown, `import_adapter_needs_model`, `name_too_long`, `disk_full`.
    """
    if len(name) > LONGEST_NAME:
        raise UserError("name_too_long", longest=LONGEST_NAME)
    if adapter and not adapter.exists():
        raise UserError("file_missing", file=str(adapter))
    if adapter and not model:
        raise UserError("import_adapter_needs_model", adapter=adapter.name)
    found = read_training_log(path)
    base = find_model(s, model) if model else None
    written = {**found.settings, **_mlx_settings(adapter)}
    told = printable(str(written.get("model") or ""))
    config = _config_of(found, written, name=name or printable(path.stem), model=base.id if base else told)
    with s.store.staging() as staged:
        folder = RunFolder(staged)
        write_atomic(folder.config, to_yaml(config).encode())
        _write_metrics(staged, found.records)
        shutil.copyfile(path, folder.log)
        ended = path.stat().st_mtime
        experiment = Experiment(
            id="", name=config.name, kind="train", method=config.method, model=config.model, data=printable(str(written.get("data") or "")),
            model_path=str(base.path) if base else "", data_path="", config_sha256="", status="completed", owner=s.person.name, attempt=1,
            created_at=max(0.0, ended - float(found.records[-1].get("elapsed_seconds") or 0.0)), ended_at=ended, summary=summarise(folder),
            imported={"source": found.tool, "file": printable(path.name), "sha256": sha256_of(path), "at": time.time()},
            history=[{"status": "completed", "at": ended}],
        )  # fmt: skip
        adopted = s.store.adopt(staged, experiment)
    return ImportedRun(adopted.id, adopted.name, "")


@needs(TRAINER)
def start_adapter(s: Services, run: ImportedRun, adapter: Path, model: str, uploaded: bool = False) -> str:
    """Start to give an imported run its adapter (a folder or a zip file), checked against its base; return the job's id.

    Raises UserError `model_…`, `disk_nearly_full`.
    """
    request = {"path": str(adapter), "model_path": str(find_model(s, model).path), "name": run.name, "uploaded": uploaded}
    return jobs.start(s, "adopt_adapter", {**request, "run_path": str(s.store.folder(run.id).path)})


def _mlx_settings(adapter: Path | None) -> dict[str, Any]:
    """Return the arguments that mlx-lm writes into adapter_config.json, nothing where there is none to read."""
    if not adapter or not adapter.is_dir():
        return {}
    try:
        settings = read_json(adapter / "adapter_config.json")
    except (OSError, UserError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _config_of(found: ForeignRun, written: Mapping[str, Any], name: str, model: str) -> TrainConfig:
    """Return the settings as far as they are known and mean the same here; all else is at its default."""
    config = TrainConfig(method=found.method, name=name[:LONGEST_NAME], model=model, iters=min(MOST_STEPS, max(1, found.steps_planned)))
    rates = [record["learning_rate"] for record in found.records if record.get("learning_rate")]
    known = {"learning_rate": max(rates, default=None), **{key: written[key] for key in TAKEN_SETTINGS if written.get(key) is not None}}
    lora = written.get("lora_parameters")
    known |= {f"lora_parameters.{key}": lora.get(key) for key in ("rank", "scale", "dropout")} if isinstance(lora, dict) else {}
    for key, value in known.items():
        outer, _, inner = key.partition(".")
        try:
            checked = from_mapping(type(getattr(config, outer)), {inner: value}) if inner else from_mapping(TrainConfig, {outer: value})
        except (UserError, TypeError):
            continue
        if value is None:
            continue
        if inner:
            config = dataclasses.replace(
                config, lora_parameters=dataclasses.replace(config.lora_parameters, **{inner: getattr(checked, inner)})
            )
        else:
            config = dataclasses.replace(config, **{outer: getattr(checked, outer)})
    return config


def _write_metrics(run_dir: Path, records: list[Record]) -> None:
    """Write the records as the worker would have, broken figures named."""
    recorder = Recorder(run_dir, attempt=1)
    try:
        for record in records:
            recorder.metrics(**record)
    finally:
        recorder.close()
