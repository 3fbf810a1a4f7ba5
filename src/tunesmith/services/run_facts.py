"""What else is known of a run: its files, what it ran on, what was made of it, and how it can be done again. Knows no language."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.access.people import TRAINER
from tunesmith.data.content import hash_data
from tunesmith.errors import UserError
from tunesmith.jobs.run_environment import read_attempts
from tunesmith.services import exports, training
from tunesmith.services.context import Services
from tunesmith.services.datasets import find_dataset
from tunesmith.services.jobs import EVALUATIONS, list_jobs
from tunesmith.services.rights import needs
from tunesmith.store.files import read_json
from tunesmith.system.device import device_name
from tunesmith.system.environment import package_versions

LARGEST_DOWNLOAD_BYTES = 200_000_000  # a page holds what it hands out in memory; larger files are taken from the folder
SERVING_PACKAGES = {"streamlit", "plotly"}  # a run's result does not depend on them


@dataclass(frozen=True)
class RunFile:
    """A file of a run: its name in the run's folder, and its part (its folder, empty at the top)."""

    name: str
    size_bytes: int
    path: Path

    @property
    def part(self) -> str:
        """The first folder of its name."""
        return self.name.partition("/")[0] if "/" in self.name else ""


@dataclass(frozen=True)
class Uses:
    """What was made of a run: exports by name, evaluations by their job's kind, id and name."""

    exports: tuple[str, ...]
    evaluations: tuple[tuple[str, str, str], ...]


def files_of(s: Services, run_id: str) -> list[RunFile]:
    """Return the run's files, by name; what is being written is left out. Raises UserError `run_unknown`."""
    folder = s.store.folder(run_id).path
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    named = ((path, path.relative_to(folder).as_posix()) for path in found)
    return [RunFile(name, path.stat().st_size, path) for path, name in named if not any(p.startswith(".") for p in name.split("/"))]


def adapter_bytes(s: Services, run_id: str) -> int:
    """Return the size of the run's adapter, 0 where there is none. Raises UserError `run_unknown`."""
    return sum(file.size_bytes for file in files_of(s, run_id) if file.part == "adapter")


def log_of(s: Services, run_id: str) -> Path:
    """Return the file of the worker's output; it may not be there yet. Raises UserError `run_unknown`."""
    return s.store.folder(run_id).log


def environment_of(s: Services, run_id: str) -> list[dict[str, Any]]:
    """Return what each attempt was computed with, oldest first (see `jobs.run_environment`). Raises UserError `run_unknown`."""
    return read_attempts(s.store.folder(run_id))


def base_hash_of(s: Services, run_id: str) -> str:
    """Return the hash of the base that the run's adapter is of, empty where there is none."""
    try:
        return str(read_json(s.store.folder(run_id).adapter / "adapter_config.json").get("base_model_hash", ""))
    except (OSError, UserError, AttributeError):
        return ""


def uses_of(s: Services, run_id: str) -> Uses:
    """Return what was made of a run."""
    return Uses(
        exports=tuple(dict.fromkeys(made.name for made in exports.list_made(s, run_id))),
        evaluations=tuple(_evaluations(s, run_id)),
    )


def _evaluations(s: Services, run_id: str) -> Iterator[tuple[str, str, str]]:
    for job in list_jobs(s, shelf=EVALUATIONS):
        variants = job.request.get("variants")
        if isinstance(variants, list) and any(_is_of(each, run_id) for each in variants):
            yield job.kind, job.id, str(job.request.get("name") or job.id)


def _is_of(variant: Any, run_id: str) -> bool:
    key = str(variant.get("key", "")) if isinstance(variant, dict) else str(variant)
    name = key.partition(":")[2].partition("@")[0]
    return name == run_id or name.startswith(f"{run_id}/")


def changes_since(s: Services, run_id: str) -> list[UserError]:
    """Return what is other now than when the run began, so that doing it again may end otherwise; empty when all is as it was.

    Codes `rerun_data_changed`, `rerun_data_unknown`, `rerun_version_changed`, `rerun_device_changed`, `rerun_not_recorded`.
    """
    attempts = environment_of(s, run_id)
    if not attempts:
        return [UserError("rerun_not_recorded")]
    recorded, data = attempts[-1], s.store.get(run_id).data
    found = []
    now = hash_data(find_dataset(s, data).path)
    if not recorded.get("data_hash"):
        found.append(UserError("rerun_data_unknown", data=data))
    elif recorded["data_hash"] != now:
        found.append(UserError("rerun_data_changed", data=data, then=recorded["data_hash"], now=now))
    then = recorded.get("versions")
    for name, version in package_versions().items():
        known = then.get(name) if isinstance(then, dict) else None
        if name not in SERVING_PACKAGES and known is not None and known != version:
            found.append(UserError("rerun_version_changed", package=name, then=known, now=version))
    if recorded.get("device") not in {None, device_name()}:
        found.append(UserError("rerun_device_changed", then=recorded["device"], now=device_name()))
    return found


@needs(TRAINER)
def rerun(s: Services, run_id: str) -> str:
    """Queue the run again as a new one: the same settings, seed, reward files and begin; return its id.

    Raises UserError `run_unknown`, `model_…`, `dataset_…`, `run_not_repeatable` when what it went on from is gone.
    """
    experiment, folder = s.store.get(run_id), s.store.folder(run_id)
    config = training.parse_config(folder.config.read_text(encoding="utf-8"))
    config = dataclasses.replace(config, name=s.store.display_name(experiment), data=experiment.data)
    kept = {part.name: part for part in (folder.rewards, folder.begin) if part.is_dir()}
    if config.resume_adapter_file and "begin" not in kept:
        raise UserError("run_not_repeatable", run=config.resume_adapter_file)
    if experiment.continued_from:
        _require_state(s, experiment.continued_from)
    return training.submit(s, config, group=experiment.group, continued_from=experiment.continued_from, kept=kept)


def _require_state(s: Services, run_id: str) -> None:
    try:
        state = s.store.folder(run_id).newest_checkpoint_step()
    except UserError:
        state = None
    if state is None:
        raise UserError("run_not_repeatable", run=run_id)
