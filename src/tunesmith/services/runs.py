"""One run, as the pages watch it: its state in figures, its curves, samples and log."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.access.people import ADMIN, TRAINER
from tunesmith.errors import UserError
from tunesmith.jobs.queue import waiting_line
from tunesmith.services.context import Services
from tunesmith.services.curves import pack_curves
from tunesmith.services.rights import needs
from tunesmith.settings.files import from_mapping, load_yaml
from tunesmith.store.experiments import ACTIVE, OCCUPYING, RESUMABLE, Experiment
from tunesmith.store.run_folder import RunFolder
from tunesmith.store.series import MetricSeries
from tunesmith.training.config import TrainConfig
from tunesmith.training.registry import Family, family_of

NOT_RESPONDING_SECONDS = 60.0


@dataclass(frozen=True)
class RunSnapshot:
    """A run at one moment; figures are None until known."""

    id: str
    name: str
    status: str
    method: str
    model: str
    data: str
    created_at: float
    config: TrainConfig
    iters: int
    step: int
    progress: float
    train_loss: float | None
    train_loss_first: float | None
    val_loss: float | None
    best_val_loss: float | None
    val_perplexity: float | None
    learning_rate: float | None
    tokens_per_second: float | None
    seconds_per_step: float | None
    peak_memory_bytes: float | None
    tokens_seen: float | None
    grad_norm: float | None
    elapsed_seconds: float | None
    eta_seconds: float | None
    responding: bool
    queue_position: int | None
    error: UserError | None
    bad_lines: int
    adapter: bool
    resumable: bool
    best: bool
    continued_from: str
    restarts: tuple[int, ...]
    figures: dict[str, float] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)

    @property
    def family(self) -> Family:
        """The family of its method."""
        return family_of(self.method)

    @property
    def active(self) -> bool:
        """Whether the run has not ended."""
        return self.status in ACTIVE

    @property
    def stage(self) -> str:
        """Which buttons it has: those of a run that is `queued`, `working`, `stopping` or `ended`."""
        return self.status if self.status in {"queued", "stopping"} else "working" if self.active else "ended"


def snapshot(s: Services, run_id: str) -> RunSnapshot:
    """Return the run's present state. Raises UserError `run_unknown`, `store_file_unreadable`."""
    experiment = s.store.get(run_id)
    folder = s.store.folder(run_id)
    series = s.series(run_id)
    config = read_config(s, run_id)
    latest = series.latest
    step = int(latest.get("step", 0))
    steps = int(latest.get("steps_planned") or config.iters)
    age = folder.heartbeat_age_seconds()
    named = {name: latest.get(name) for name in (
        "train_loss", "val_loss", "val_perplexity", "learning_rate", "tokens_per_second", "seconds_per_step",
        "peak_memory_bytes", "tokens_seen", "grad_norm",
    )}  # fmt: skip
    return RunSnapshot(
        id=run_id, name=s.store.display_name(experiment), status=_status(experiment, folder), method=experiment.method,
        model=experiment.model, data=experiment.data, created_at=experiment.created_at, config=config, iters=steps,
        step=step, progress=min(1.0, step / steps), train_loss_first=series.first.get("train_loss"),
        best_val_loss=series.lowest("val_loss"), elapsed_seconds=_elapsed(experiment, series), eta_seconds=_eta(experiment, series, steps),
        responding=experiment.status != "running" or age is None or age < NOT_RESPONDING_SECONDS,
        queue_position=_queue_position(s, experiment), error=as_error(experiment.error), bad_lines=series.bad_lines,
        adapter=folder.has_adapter(), resumable=_is_resumable(experiment, folder),
        best=(folder.path / "best").is_dir(), continued_from=experiment.continued_from,
        restarts=tuple(experiment.restarts),
        figures=dict(latest), first=dict(series.first), **named,
    )  # fmt: skip


def _status(experiment: Experiment, folder: RunFolder) -> str:
    """Return the status; a run whose resume the supervisor has not seen yet counts as queued, so that whoever watches goes on watching."""
    return "queued" if experiment.status in RESUMABLE and folder.has_request("resume") else experiment.status


def _is_resumable(experiment: Experiment, folder: RunFolder) -> bool:
    return _status(experiment, folder) in RESUMABLE and folder.newest_checkpoint_step() is not None


def as_error(record: dict[str, Any] | None) -> UserError | None:
    """Return a stored error as the exception that the page words."""
    return UserError(record["code"], **record.get("facts", {})) if record else None


def _elapsed(experiment: Experiment, series: MetricSeries) -> float | None:
    """Return the seconds of work that were recorded, and of a running run those since its last record: clocks of the wall are set."""
    seconds = series.latest.get("elapsed_seconds")
    if experiment.status not in ACTIVE:
        seconds = experiment.summary.get("duration_seconds") or seconds
    if seconds is None:
        return None
    goes_on = experiment.status == "running" and series.attempt == experiment.attempt
    return float(seconds) + (series.silent_seconds if goes_on else 0.0)


def _eta(experiment: Experiment, series: MetricSeries, planned: int) -> float | None:
    """Estimate the rest from the pace so far, validations and saves included."""
    steps, seconds = series.column("elapsed_seconds")
    if experiment.status != "running" or not len(steps) or steps[-1] <= 0:
        return None
    return float(seconds[-1] / steps[-1] * (planned - steps[-1]))


def _queue_position(s: Services, experiment: Experiment) -> int | None:
    if experiment.status != "queued":
        return None
    line = [e.id for e in waiting_line(s.store.all()[0], s.store.queue_place)]
    return line.index(experiment.id) + 1 if experiment.id in line else None


def events(s: Services, run_id: str) -> list[dict[str, Any]]:
    """Return the run's events in their order: samples, checkpoints, alerts."""
    return s.store.folder(run_id).read_events()


def log_tail(s: Services, run_id: str, lines: int = 200) -> list[str]:
    """Return the last lines of the worker's output."""
    return s.store.folder(run_id).read_log_tail(lines)


def config_yaml(s: Services, run_id: str) -> str:
    """Return the run's settings as they were launched."""
    return s.store.folder(run_id).config.read_text(encoding="utf-8")


def read_config(s: Services, run_id: str) -> TrainConfig:
    """Return the run's settings. Raises UserError `run_unknown`, `yaml_unreadable`, `setting_…`."""
    file = s.store.folder(run_id).config
    try:
        state = file.stat()
    except OSError as error:
        raise UserError("yaml_unreadable", file=file.name, line=0) from error
    return _parse_config(file, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=256)
def _parse_config(file: Path, changed_ns: int, size_bytes: int) -> TrainConfig:
    del changed_ns, size_bytes  # parts of the key: pages ask for a run's settings several times a second
    return from_mapping(TrainConfig, load_yaml(file))


@needs(TRAINER)
def stop(s: Services, run_id: str) -> None:
    """Ask a run to stop; it saves what it has learned at its next step. Raises UserError `run_not_active`."""
    if _status(s.store.get(run_id), s.store.folder(run_id)) not in ACTIVE:
        raise UserError("run_not_active", run=run_id)
    s.store.folder(run_id).request("cancel")
    s.supervisor.wake()


@needs(TRAINER)
def pause(s: Services, run_id: str) -> None:
    """Ask a run to save its exact state and give its memory back. Raises UserError `run_not_active`."""
    if s.store.get(run_id).status not in OCCUPYING:
        raise UserError("run_not_active", run=run_id)
    s.store.folder(run_id).request("pause")
    s.supervisor.wake()


@needs(TRAINER)
def resume(s: Services, run_id: str) -> None:
    """Put a run that was paused, stopped or broken off in the queue again; it goes on from its newest checkpoint.

    Raises UserError `run_not_resumable`.
    """
    if not _is_resumable(s.store.get(run_id), s.store.folder(run_id)):
        raise UserError("run_not_resumable", run=run_id)
    _require_inputs(s.store.get(run_id))
    if read_config(s, run_id).hostfile and not s.person.may(ADMIN):
        raise UserError("role_needed", role=ADMIN)
    folder = s.store.folder(run_id)
    folder.forget_requests("cancel", "pause")  # here, so that a stop that comes after this counts
    folder.request("resume")
    s.supervisor.wake()


def _require_inputs(experiment: Experiment) -> None:
    """Refuse to go on with a run made elsewhere whose base or data are not here. Raises UserError `model_unknown`, `dataset_unknown`."""
    if not experiment.imported:
        return  # its worker tells
    if not experiment.model_path or not Path(experiment.model_path).exists():
        raise UserError("model_unknown", model=experiment.model)
    if not experiment.data_path or not Path(experiment.data_path).exists():
        raise UserError("dataset_unknown", dataset=experiment.data)


def series_state(s: Services, run_id: str) -> tuple[int, bool]:
    """Return the revision of a run's curves and whether they go on. Raises UserError `run_unknown`, `store_file_unreadable`."""
    return s.series(run_id).rev, _status(s.store.get(run_id), s.store.folder(run_id)) in ACTIVE


def pack_series(s: Services, run_id: str, active: bool, smoothing: float = 0.0) -> bytes:
    """Return a run's curves as `curves.pack_curves` lays them out. Raises UserError `run_unknown`, ValueError as `curves.smooth` does."""
    return pack_curves(s.series(run_id), s.store.get(run_id).method, active, smoothing)


def marks(s: Services, run_id: str) -> dict[str, int]:
    """Return how far a run's files have grown (bytes), so that what shows them is drawn anew only then. Raises UserError `run_unknown`."""
    folder = s.store.folder(run_id)
    return {"events": _size(folder.events), "rollouts": _size(folder.rollouts), "log": _size(folder.log)}


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
