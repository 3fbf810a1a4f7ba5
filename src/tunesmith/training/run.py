"""THE training loop: every method is rows and a loss in it. Knows the store's files, not the pages and not the queue."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_map

from tunesmith.data.batching import Shape, largest_shape
from tunesmith.errors import UserError
from tunesmith.training.batches import batches_of_step
from tunesmith.training.config import TrainConfig
from tunesmith.training.events import Recorder
from tunesmith.training.health import has_exploded
from tunesmith.training.prepare import Run, prepare_run
from tunesmith.training.processes import Processes, join_processes
from tunesmith.training.progress import Window
from tunesmith.training.schedule import learning_rate_at
from tunesmith.training.validation import validate

logger = logging.getLogger(__name__)
Wish = Literal["", "cancel", "pause"]
Status = Literal["completed", "cancelled", "paused"]
ENDS: dict[Wish, Status] = {"cancel": "cancelled", "pause": "paused"}


def train(config: TrainConfig, model_path: Path, data_path: Path, run_dir: Path, wish: Callable[[], Wish], attempt: int = 1) -> Status:
    """Train and leave the adapter in `run_dir/adapter`; begin where the folder's newest checkpoint stands.

    Asks `wish` before each step: a run that is cancelled or paused saves its exact state. Raises UserError `loss_not_finite`,
    `loss_exploded`, `disk_full`, `disk_nearly_full`, and what `prepare_run` raises.
    """
    processes = join_processes(config.num_processes)
    recorder = Recorder(run_dir, attempt, silent=not processes.writes)
    try:
        run = prepare_run(config, model_path, data_path, run_dir, recorder, processes)
        return _loop(run, wish)
    finally:
        recorder.close()


def measure_steps(config: TrainConfig, model_path: Path, data_path: Path, folder: Path) -> Shape:
    """Do the run's first steps without validation, checkpoint or adapter; return their largest batch. Figures are in the metrics."""
    recorder = Recorder(folder, attempt=1)
    try:
        run = prepare_run(config, model_path, data_path, folder, recorder)
        run.base.model.train()
        gradient_of = nn.value_and_grad(run.base.model, run.loss)
        mx.reset_peak_memory()
        for _ in range(run.steps):
            _report(run, _timed(run, lambda: _take_step(run, gradient_of), counted=True))
        return largest_shape(run.rows.train, run.rules, run.steps)
    finally:
        recorder.close()


def _loop(run: Run, wish: Callable[[], Wish]) -> Status:
    config, progress = run.config, run.progress
    gradient_of = nn.value_and_grad(run.base.model, run.loss)
    if progress.step == 0:
        _timed(run, lambda: validate(run, 0))
    run.base.model.train()
    while progress.step < run.steps:
        if asked := _shared_wish(run.processes, wish):
            return _end(run, ENDS[asked])
        grad_norm = _timed(run, lambda: _take_step(run, gradient_of), counted=True)
        step = progress.step
        run.recorder.beat()
        if step in {1, run.steps} or step % config.steps_per_report == 0:
            _report(run, grad_norm)
        if step == run.steps or step % config.steps_per_eval == 0:
            _timed(run, lambda: validate(run, progress.step))
            if config.patience and progress.stale_validations >= config.patience:
                run.recorder.event("early_stop", step=step, best_step=progress.best_step, best=progress.best_val_loss)
                break
        if step % config.save_every == 0 and step != run.steps:
            _save(run)
    return _end(run, "completed")


def _timed(run: Run, work: Callable[[], Any], counted: bool = False) -> Any:
    """Do something on the run's clock; only `counted` work is part of the report window."""
    began = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    run.progress.elapsed_seconds += seconds
    if counted:
        run.progress.window.seconds += seconds
    return result


def _shared_wish(processes: Processes, wish: Callable[[], Wish]) -> Wish:
    """Return what rank 0 was asked for: all processes must leave at the same step."""
    asked: Wish = wish() if processes.writes else ""
    (number,) = processes.sum_numbers(list(ENDS).index(asked) + 1 if asked else 0)
    return list(ENDS)[int(number) - 1] if number else ""


def _take_step(run: Run, gradient_of: Callable[..., Any]) -> float:
    """Do one optimiser step on the token mean of its batches; return the gradient's norm before clipping.

    Sums of loss and gradient are divided once by all tokens of the step, so accumulation and several processes change nothing.
    """
    progress, config = run.progress, run.config
    batches = batches_of_step(run.rows.train, progress.step, run.rules, run.processes.rank, run.processes.count)
    progress.step += 1
    mx.random.seed(_step_seed(config.seed, progress.step))  # dropout depends on (seed, step) alone
    gradient: Any = None
    loss_sum = 0.0
    for batch in batches:
        part, slopes = gradient_of(run.base.model, batch, run.forward)
        gradient = slopes if gradient is None else tree_map(mx.add, gradient, slopes)
        mx.eval(part, gradient)
        loss_sum += float(part)
    if gradient is None:  # fewer rows than processes in an epoch's last step
        gradient = tree_map(mx.zeros_like, run.base.model.trainable_parameters())
    loss_sum, supervised, tokens = run.processes.sum_numbers(
        loss_sum, sum(batch.supervised_tokens for batch in batches), sum(batch.tokens for batch in batches)
    )
    count = max(1, int(supervised))
    gradient = tree_map(lambda g: g / count, run.processes.sum_tree(gradient))
    gradient, norm = optim.clip_grad_norm(gradient, config.grad_clip or math.inf)
    grad_norm = float(norm)
    _require_sound(run, loss_sum / count, grad_norm)
    run.optimizer.learning_rate = learning_rate_at(config, progress.step, run.steps)
    run.optimizer.update(run.base.model, gradient)
    mx.eval(run.base.model.trainable_parameters(), run.optimizer.state)
    window = progress.window
    window.loss_sum += loss_sum
    window.supervised_tokens += count
    window.tokens += int(tokens)
    window.steps += 1
    progress.tokens_seen += int(tokens)
    return grad_norm


def _require_sound(run: Run, loss: float, grad_norm: float) -> None:
    """Stop a run that has gone wrong before it spoils the weights: they are those of the last good step, and are saved."""
    progress, rate = run.progress, run.config.learning_rate
    if progress.first_loss is None:
        progress.first_loss = loss
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        error = UserError("loss_not_finite", step=progress.step, learning_rate=rate)
    elif has_exploded(loss, progress.first_loss, math.log(_vocabulary(run))):
        error = UserError("loss_exploded", step=progress.step, loss=round(loss, 3), first=round(progress.first_loss, 3), learning_rate=rate)
    else:
        return
    run.recorder.metrics(progress.step, train_loss=loss, grad_norm=grad_norm)
    progress.step -= 1
    if progress.step and run.processes.writes:
        _keep_last_good(run)
    raise error


def _vocabulary(run: Run) -> int:
    return int((run.base.config.get("text_config") or run.base.config).get("vocab_size") or 2)


def _keep_last_good(run: Run) -> None:
    """Make the best validated state the adapter, else the one before the bad step, when its weights are numbers."""
    if (run.checkpoints.run_dir / "best").exists():
        run.checkpoints.load_best()
        kept = run.progress.best_step
    else:
        kept = run.progress.step
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
        "peak_memory_bytes": mx.get_peak_memory(), "tokens_seen": progress.tokens_seen, "grad_norm": grad_norm,
        "epoch": progress.step / run.rules.steps_per_epoch(len(run.rows.train)), "elapsed_seconds": progress.elapsed_seconds,
        "steps_planned": run.steps,
    }  # fmt: skip
    run.recorder.metrics(progress.step, **figures)
    logger.info("step %d/%d  loss %.4f  %.0f tokens/s", progress.step, run.steps, window.loss, figures["tokens_per_second"])
    for alert in run.health.after_report(progress.step, window.loss, grad_norm, seconds / window.steps):
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
        run.recorder.event("best_kept", step=run.progress.best_step, loss=run.progress.best_val_loss)
    run.checkpoints.save_adapter()
    return status
