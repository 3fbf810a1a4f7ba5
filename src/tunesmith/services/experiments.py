"""The list of experiments: look, rename, throw away, bring back."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.errors import UserError
from tunesmith.services.context import Services
from tunesmith.services.runs import as_error
from tunesmith.store.experiments import ACTIVE, Experiment
from tunesmith.store.run_folder import RunFolder


@dataclass(frozen=True)
class ExperimentRow:
    """One line of the list."""

    id: str
    name: str
    status: str
    model: str
    method: str
    data: str
    created_at: float
    final_loss: float | None
    best_val_loss: float | None
    reward: float | None
    duration_seconds: float | None
    sparkline: list[float]
    adapter: bool
    error: UserError | None


def _row(s: Services, experiment: Experiment, folder: RunFolder) -> ExperimentRow:
    summary = experiment.summary
    if experiment.status in ACTIVE:
        series = s.series(experiment.id)
        rewards = series.column("reward")[1]
        summary = {
            "loss_last": series.latest.get("train_loss"),
            "best_val_loss": series.lowest("val_loss"),
            "duration_seconds": series.latest.get("elapsed_seconds"),
            "reward_last": series.latest.get("val_reward", series.latest.get("reward")),
            "sparkline": (rewards if len(rewards) else series.column("train_loss")[1])[-40:].tolist(),
        }
    return ExperimentRow(
        id=experiment.id, name=s.store.display_name(experiment) if folder.path.parent == s.store.experiments else experiment.name,
        status=experiment.status, model=experiment.model, method=experiment.method, data=experiment.data,
        created_at=experiment.created_at, final_loss=None if summary.get("reward_last") is not None else summary.get("loss_last"),
        best_val_loss=summary.get("best_val_loss"),
        reward=summary.get("reward_last"),
        duration_seconds=summary.get("duration_seconds"), sparkline=summary.get("sparkline", []), adapter=folder.has_adapter(),
        error=as_error(experiment.error),
    )  # fmt: skip


def table(s: Services) -> list[ExperimentRow]:
    """Return all readable experiments, newest first."""
    return [_row(s, e, s.store.folder(e.id)) for e in s.store.all()[0]]


def unreadable(s: Services) -> list[str]:
    """Return the ids of the experiments whose record cannot be read."""
    return s.store.all()[1]


def trashed(s: Services) -> list[ExperimentRow]:
    """Return what lies in the trash, newest first."""
    return [_row(s, e, RunFolder(s.store.trash_folder / e.id)) for e in s.store.trashed()]


def name_of(s: Services, run_id: str) -> str:
    """Return what people call a run, its id when it is gone."""
    try:
        return s.store.display_name(s.store.get(run_id))
    except UserError:
        return run_id


def rename(s: Services, run_id: str, name: str) -> None:
    """Give a run another name. Raises UserError `name_empty`, `name_too_long`, `server_read_only`."""
    s.require_writable()
    s.store.rename(run_id, name)


def trash(s: Services, run_id: str) -> None:
    """Move an ended run to the trash for 7 days. Raises UserError `run_still_active`, `server_read_only`."""
    s.require_writable()
    s.store.trash(run_id)


def restore(s: Services, run_id: str) -> None:
    """Bring a run back from the trash. Raises UserError `run_unknown`, `server_read_only`."""
    s.require_writable()
    s.store.restore(run_id)
