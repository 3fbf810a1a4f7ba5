"""Runs carried from one store to another as zip files. What comes in is a stranger's: checked whole, then taken in whole or not at all.

Nothing of a package is run: reward files stay readable beside the run, in a folder that no run takes them from.
"""

from __future__ import annotations

import dataclasses
import io
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import orjson
import yaml

from tunesmith.access.people import TRAINER
from tunesmith.data.readers.archives import printable
from tunesmith.data.run_packages import MOST_RUNS, Package, PackedRun, files_of_run, write_package
from tunesmith.errors import UserError
from tunesmith.jobs.summary import summarise
from tunesmith.models.safety import read_safetensors_header
from tunesmith.services import jobs
from tunesmith.services.context import Services
from tunesmith.services.datasets import find_dataset
from tunesmith.services.models import find_model
from tunesmith.services.rights import needs
from tunesmith.settings.files import from_mapping, parse_yaml
from tunesmith.store.experiments import ACTIVE, TERMINAL, Experiment
from tunesmith.store.files import as_user_error, put_in_place, write_json
from tunesmith.store.migrations import migrate
from tunesmith.store.run_folder import RunFolder
from tunesmith.system.memory import require_space
from tunesmith.system.progress import Progress, Report, silent
from tunesmith.training.config import TrainConfig

SMALL_BYTES = 50_000_000  # up to here a package is made in memory, at the click
KEPT_REWARDS = "rewards-imported"
LATEST_TIME = 4_102_444_800.0  # the year 2100
LONGEST_TEXT, LONGEST_LABEL, MOST_TAGS = 500, 20_000, 50
DEEPEST_YAML = 12
_OPENING = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken, yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
_FACT = re.compile(r"[a-z][a-z0-9_]{0,40}")
_TAKEN_FACTS = {"code", "self", "lang", "key"}  # parameters of those who word an error


@dataclass(frozen=True)
class ImportedRun:
    """A run that was taken in: its new id, the one it had, and what a person should know of it."""

    id: str
    name: str
    former_id: str
    notes: tuple[UserError, ...] = ()


def size_of(s: Services, run_ids: Sequence[str], checkpoints: bool = False) -> int:
    """Return the bytes that a package of the runs would hold, before packing. Raises UserError `run_unknown`."""
    return sum(path.stat().st_size for run_id in run_ids for path, _ in files_of_run(s.store.folder(run_id), checkpoints))


def pack_small(s: Services, run_ids: Sequence[str], checkpoints: bool = False) -> bytes:
    """Return a package of ended runs. Raises UserError `run_unknown`, `package_run_active`, `package_too_many`."""
    buffer = io.BytesIO()
    write_package(buffer, _folders(s, run_ids), checkpoints)
    return buffer.getvalue()


def pack_into(s: Services, run_ids: Sequence[str], target: Path, checkpoints: bool = False, report: Report = silent) -> None:
    """Write a package of ended runs to a file. Raises UserError `run_unknown`, `package_run_active`, `target_exists`, `disk_full`."""
    folders = _folders(s, run_ids)
    aside = target.with_name(f".{target.name}.part")
    if target.exists():
        raise UserError("target_exists", name=target.name, folder=str(target.parent))
    try:
        with aside.open("wb") as stream:
            write_package(stream, folders, checkpoints, report)
        put_in_place(aside, target)
    except OSError as error:
        raise as_user_error(error, target) from error
    finally:
        aside.unlink(missing_ok=True)


@needs(TRAINER)
def start_pack(s: Services, run_ids: Sequence[str], checkpoints: bool = False) -> str:
    """Start to pack ended runs into a file; return the job's id. Raises as `pack_into` does, and `disk_nearly_full`."""
    folders = _folders(s, run_ids)
    names = [s.store.display_name(s.store.get(run_id)) for run_id in run_ids]
    shown = names[0] if len(names) == 1 else f"{names[0]} + {len(names) - 1}"
    request = {"name": shown, "runs": [str(folder.path) for folder in folders], "checkpoints": checkpoints}
    return jobs.start(s, "pack_runs", request, size_of(s, run_ids, checkpoints))


def packed_file(s: Services, job_id: str) -> Path:
    """Return the file that a job of `start_pack` made. Raises UserError `job_unknown`, `file_missing`."""
    path = Path(str(jobs.find_job(s, job_id).result.get("path", "")))
    if not path.is_file():
        raise UserError("file_missing", file=path.name or job_id)
    return path


def _folders(s: Services, run_ids: Sequence[str]) -> list[RunFolder]:
    if len(run_ids) > MOST_RUNS:
        raise UserError("package_too_many", runs=len(run_ids), most=MOST_RUNS)
    for run_id in run_ids:
        if s.store.get(run_id).status in ACTIVE:
            raise UserError("package_run_active", run=run_id)
    return [s.store.folder(run_id) for run_id in dict.fromkeys(run_ids)]


@needs(TRAINER)
def import_package(s: Services, path: Path, progress: Progress = silent) -> list[ImportedRun]:
    """Take in the runs of a package under new ids: all of them, or none.

    Raises UserError `package_…`, `archive_…`, `data_…`, `model_weights_broken`, `store_too_new`, `disk_full`, `disk_nearly_full`.
    """
    package = Package(path)
    require_space(s.data_dir, sum(run.size_bytes for run in package.runs))
    adopted: dict[str, Experiment] = {}
    found: list[ImportedRun] = []
    with ExitStack() as staged:
        ready = []
        for number, run in enumerate(package.runs):
            folder = RunFolder(staged.enter_context(s.store.staging()))
            package.unpack(run, folder.path, {"rewards": KEPT_REWARDS})
            ready.append((run, folder, *_examine(s, run, folder, path.name)))
            progress((number + 1) / len(package.runs))
        try:
            for run, folder, record, notes in _parents_first(ready):
                parent = adopted.get(record.continued_from)
                record = dataclasses.replace(record, continued_from=parent.id if parent else "")
                adopted[run.id] = s.store.adopt(folder.path, record)
                found.append(ImportedRun(adopted[run.id].id, s.store.display_name(adopted[run.id]), run.id, tuple(notes)))
        except BaseException:
            for experiment in adopted.values():
                shutil.rmtree(s.store.folder(experiment.id).path, ignore_errors=True)
            raise
    return found


Ready = tuple[PackedRun, RunFolder, Experiment, list[UserError]]


def _parents_first(ready: Sequence[Ready]) -> list[Ready]:
    """Return the runs in the order of their making, so that one that goes on from another finds its new id."""
    return sorted(ready, key=lambda each: each[2].created_at)


def _examine(s: Services, run: PackedRun, folder: RunFolder, file: str) -> tuple[Experiment, list[UserError]]:
    """Return the run's record as it is written here, and notes. Raises UserError `package_broken`, `model_weights_broken`, …"""
    try:
        config = _read_config(folder)
        record = _read_record(folder)
        summary = summarise(folder)
    except UserError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError, yaml.YAMLError) as error:
        raise UserError("package_broken", file=printable(file), part=f"{run.id}: {printable(str(error))[:120]}") from error
    if record.status not in TERMINAL or record.method != config.method:
        raise UserError("package_broken", file=printable(file), part=f"{run.id}: {record.status}, {record.method}")
    for path in folder.path.rglob("*.safetensors"):
        read_safetensors_header(path)
    _clean_labels(folder)
    notes = _notes(s, record, folder)
    imported = {
        "source": "package", "file": printable(file), "run": run.id, "owner": record.owner, "at": time.time(),
        "continued_from": record.continued_from,
    }  # fmt: skip
    known = dataclasses.replace(
        record, owner=s.person.name, imported=imported, summary=summary, nonce="", pid=0, model_path=_model_path(s, record),
        data_path=_data_path(s, record),
    )  # fmt: skip
    return known, notes


def _read_config(folder: RunFolder) -> TrainConfig:
    text = folder.config.read_text(encoding="utf-8")
    _check_nesting(text)
    try:
        config = from_mapping(TrainConfig, parse_yaml(text, folder.config.name))
    except UserError as error:
        raise ValueError(f"config.yaml: {error}") from error
    if not all(isinstance(each, str) for each in (*config.sample_prompts, *config.lora_parameters.custom_keys)):
        raise ValueError("config.yaml: list")
    return config


def _check_nesting(text: str) -> None:
    """Refuse YAML that is small and costs much: aliases, a few of which stand for a billion values, and deep nesting. Raises ValueError."""
    depth = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > DEEPEST_YAML or isinstance(token, yaml.AliasToken):
            raise ValueError("config.yaml: nesting")


def _read_record(folder: RunFolder) -> Experiment:
    values = migrate(msgspec.json.decode(folder.record.read_bytes(), type=dict[str, Any]), folder.record.name)
    record = msgspec.convert(values, Experiment)
    for moment in (record.created_at, record.started_at, record.ended_at):
        if not 0 <= moment <= LATEST_TIME:
            raise ValueError("experiment.json: time")
    texts: dict[str, Any] = {
        field.name: printable(value)[:LONGEST_TEXT]
        for field in dataclasses.fields(Experiment)
        if isinstance(value := getattr(record, field.name), str)
    }
    history = [
        {"status": printable(str(each.get("status")))[:40], "at": float(at)}
        for each in record.history
        if isinstance(at := each.get("at"), int | float) and 0 <= at <= LATEST_TIME
    ]
    return dataclasses.replace(record, **(texts | {"history": history, "error": _clean_error(record.error)}))


def _clean_error(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not error:
        return None
    facts = error.get("facts")
    plain = {
        name: value[:LONGEST_TEXT] if isinstance(value, str) else value
        for name, value in (facts.items() if isinstance(facts, dict) else ())
        if _FACT.fullmatch(name) and name not in _TAKEN_FACTS and isinstance(value, str | int | float | bool | None)
    }
    return {"code": printable(str(error.get("code")))[:80], "facts": plain}


def _clean_labels(folder: RunFolder) -> None:
    """Keep what people said of the run, not its place in another store's queue."""
    try:
        labels = orjson.loads(folder.labels.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        labels = {}
    folder.labels.unlink(missing_ok=True)
    kept: dict[str, Any] = {}
    for name, value in labels.items() if isinstance(labels, dict) else ():
        if name in {"priority", "rank"} or not _FACT.fullmatch(name):
            continue
        if isinstance(value, str | bool):
            kept[name] = value[:LONGEST_LABEL] if isinstance(value, str) else value
        elif isinstance(value, list):
            kept[name] = [printable(each) for each in value if isinstance(each, str)][:MOST_TAGS]
    if kept:
        write_json(folder.labels, kept)


def _model_path(s: Services, record: Experiment) -> str:
    try:
        return str(find_model(s, record.model).path)
    except UserError:
        return ""  # a path that a stranger wrote is none of this computer's


def _data_path(s: Services, record: Experiment) -> str:
    try:
        return str(find_dataset(s, record.data).path)
    except UserError:
        return ""


def _notes(s: Services, record: Experiment, folder: RunFolder) -> list[UserError]:
    """Return what is not here that the run refers to."""
    notes = []
    for find, name, code in ((find_model, record.model, "import_model_missing"), (find_dataset, record.data, "import_data_missing")):
        try:
            find(s, name)
        except UserError:
            notes.append(UserError(code, name=name))
    if (folder.path / KEPT_REWARDS).is_dir():
        notes.append(UserError("import_rewards_kept", folder=KEPT_REWARDS))
    return notes
