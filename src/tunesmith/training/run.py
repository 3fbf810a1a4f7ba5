"""THE training loop: every method is a task in it. Knows the store's files, not the pages and not the queue."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx

from tunesmith.data.batching import Shape
from tunesmith.errors import UserError
from tunesmith.inference.batch_generation import Abandoned
from tunesmith.training.config import TrainConfig
from tunesmith.training.events import Recorder
from tunesmith.training.prepare import prepare_run
from tunesmith.training.processes import Processes, join_processes
from tunesmith.training.progress import Window
from tunesmith.training.results import StepResult
from tunesmith.training.schedule import learning_rate_at
from tunesmith.training.task import Run
from tunesmith.training.validation import validate

logger = logging.getLogger(__name__)
Wish = Literal["", "cancel", "pause"]
Status = Literal["completed", "cancelled", "paused"]
ENDS: dict[Wish, Status] = {"cancel": "cancelled", "pause": "paused"}


def train(config: TrainConfig, model_path: Path, data_path: Path, run_dir: Path, wish: Callable[[], Wish], attempt: int = 1) -> Status:
    """Train and leave the adapter in `run_dir/adapter`; begin where the folder's newest checkpoint stands.

    Asks `wish` before each step, and between the tokens of a rollout: a run that is cancelled or paused saves its exact state. Raises
    UserError `loss_not_finite`, `loss_exploded`, `reward_…`, `disk_full`, `disk_nearly_full`, and what `prepare_run` raises.
    """
    processes = join_processes(config.num_processes)
    recorder = Recorder(run_dir, attempt, silent=not processes.writes)
    try:
        run = prepare_run(config, model_path, data_path, run_dir, recorder, processes)
        run.abandoned = lambda: bool(wish())
        try:
            return _loop(run, wish)
        except Abandoned:  # in the middle of a step or of a validation, which are done anew after a resume
            return _end(run, ENDS[wish()])
        finally:
            run.task.close()
    finally:
        recorder.close()


def measure_steps(config: TrainConfig, model_path: Path, data_path: Path, folder: Path) -> Shape:
    """Do the run's first steps without validation, checkpoint or adapter; return their largest pass. Figures are in the metrics."""
    recorder = Recorder(folder, attempt=1)
    try:
        run = prepare_run(config, model_path, data_path, folder, recorder)
        run.base.model.train()
        mx.reset_peak_memory()
        for _ in range(run.steps):
            _report(run, _take_step(run))
        run.task.close()
        return run.task.largest_shape(run)
    finally:
        recorder.close()


def _loop(run: Run, wish: Callable[[], Wish]) -> Status:
    config, progress = run.config, run.progress
    if _is_validation_due(run):  # the first, or one that was broken off
        _timed(run, lambda: validate(run, progress.step))
    while progress.step < run.steps and not _is_patience_out(run):
        if asked := _shared_wish(run.processes, wish):
            return _end(run, ENDS[asked])
        grad_norm = _take_step(run)
        step = progress.step
        run.recorder.beat()
        if step in {1, run.steps} or step % config.steps_per_report == 0:
            _report(run, grad_norm)
        if _is_validation_due(run):
            _timed(run, lambda: validate(run, progress.step))
        if step % config.save_every == 0 and step != run.steps and not _is_patience_out(run):
            _save(run)
    if _is_patience_out(run):
        run.recorder.event("early_stop", step=progress.step, best_step=progress.best_step, best=progress.best_score)
    return _end(run, "completed")


def _is_validation_due(run: Run) -> bool:
    progress = run.progress
    return progress.validated != progress.step and (progress.step == run.steps or progress.step % run.config.steps_per_eval == 0)


def _is_patience_out(run: Run) -> bool:
    return bool(run.config.patience) and run.progress.stale_validations >= run.config.patience


def _timed(run: Run, work: Callable[[], Any]) -> float:
    """Do something on the run's clock; return its seconds."""
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    run.progress.elapsed_seconds += seconds
    return seconds


def _shared_wish(processes: Processes, wish: Callable[[], Wish]) -> Wish:
    """Return what rank 0 was asked for: all processes must leave at the same step."""
    asked: Wish = wish() if processes.writes else ""
    (number,) = processes.sum_numbers(list(ENDS).index(asked) + 1 if asked else 0)
    return list(ENDS)[int(number) - 1] if number else ""


def _take_step(run: Run) -> float:
    """Do one step of the method and move the run's place; return the gradient's norm before clipping.

    All chance of a step depends on (seed, step) alone, so that a resume needs no state of it.
    """
    progress = run.progress
    step = progress.step + 1
    mx.random.seed(_step_seed(run.config.seed, step))
    run.base.model.train()
    began = time.perf_counter()
    try:
        done: StepResult = run.task.take_step(run, step)
    except UserError as error:
        _keep_last_good(run, error)
        raise
    seconds = time.perf_counter() - began
    progress.step = step
    progress.tokens_seen += done.tokens
    progress.elapsed_seconds += seconds
    progress.window.add(done, seconds)
    return done.grad_norm


def _keep_last_good(run: Run, error: UserError) -> None:
    """Make the best validated state the adapter, else the one before the bad step; neither when a weight is no number."""
    if not run.progress.step or not run.processes.writes or error.code in {"disk_full", "disk_nearly_full"}:
        return
    if (run.checkpoints.run_dir / "best").exists():
        run.checkpoints.load_best()
        kept = run.progress.best_step
    else:
        kept = run.progress.step
    if not run.checkpoints.is_finite():
        return
    run.checkpoints.save_adapter()
    run.recorder.event("kept_last_good", step=kept)


def _step_seed(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) % (2**63)


def _report(run: Run, grad_norm: float) -> None:
    progress, window = run.progress, run.progress.window
    seconds = max(1e-9, window.seconds)
    figures: dict[str, float] = {
        "train_loss": window.loss, "learning_rate": learning_rate_at(run.config, progress.step, run.steps),
        "tokens_per_second": window.tokens / seconds, "seconds_per_step": seconds / window.steps,
        "peak_memory_bytes": mx.get_peak_memory(), "active_memory_bytes": mx.get_active_memory(),
        "cache_memory_bytes": mx.get_cache_memory(), "tokens_seen": progress.tokens_seen, "grad_norm": grad_norm,
        "epoch": progress.step / run.rules.steps_per_epoch(run.task.count), "elapsed_seconds": progress.elapsed_seconds,
        "steps_planned": run.steps, **window.means,
    }  # fmt: skip
    run.recorder.metrics(progress.step, **figures)
    logger.info("step %d/%d  loss %.4f  %.0f tokens/s", progress.step, run.steps, window.loss, figures["tokens_per_second"])
    for alert in run.health.after_report(progress.step, figures):
        run.recorder.event("alert", step=progress.step, **alert.as_record())
    progress.window = Window()


def _save(run: Run) -> None:
    if run.processes.writes:
        run.checkpoints.save(run.progress)
        run.recorder.event("checkpoint", step=run.progress.step)


def _end(run: Run, status: Status) -> Status:
    """Save the exact state, and the adapter: the last state, or the best when the settings say so."""
    _save(run)
    if not run.processes.writes:
        return status
    if run.config.keep_best and run.progress.best_step:
        run.checkpoints.load_best()
        run.recorder.event("best_kept", step=run.progress.best_step, loss=run.progress.best_score)
    run.checkpoints.save_adapter()
    return status
