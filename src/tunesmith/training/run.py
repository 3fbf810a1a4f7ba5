"""THE training loop: every method is rows and a loss in it. Knows the store's files, not the pages and not the queue."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

from tunesmith.data.encoding import EncodedRows, EncodingRules, encode_dataset
from tunesmith.errors import UserError
from tunesmith.inference.generation import generate_text
from tunesmith.models.adapter_files import adapter_config
from tunesmith.models.loading import LoadedModel, add_lora, count_parameters, find_lora_keys, hash_model, load_model
from tunesmith.system.device import blas_name, device_name
from tunesmith.training.batches import Batch, all_batches, iterate_batches
from tunesmith.training.checkpoints import AdapterSaver
from tunesmith.training.config import TrainConfig
from tunesmith.training.events import Recorder
from tunesmith.training.forward import Forward, choose_forward
from tunesmith.training.registry import METHODS
from tunesmith.training.samples import Probe, choose_probes
from tunesmith.training.schedule import learning_rate_at, make_optimizer

logger = logging.getLogger(__name__)
Loss = Callable[[Any, Batch, Forward], mx.array]
SAMPLE_TOKENS = 40


@dataclass
class Window:
    """What was done since the last report."""

    loss_sum: float = 0.0
    supervised_tokens: int = 0
    tokens: int = 0
    steps: int = 0
    began: float = field(default_factory=time.perf_counter)


@dataclass
class Run:
    """Everything that the loop holds while it runs."""

    config: TrainConfig
    base: LoadedModel
    rows: EncodedRows
    loss: Loss
    forward: Forward
    optimizer: Any
    recorder: Recorder
    saver: AdapterSaver
    probes: list[Probe]
    began: float = field(default_factory=time.perf_counter)
    tokens_seen: int = 0
    window: Window = field(default_factory=Window)


def train(
    config: TrainConfig, model_path: Path, data_path: Path, run_dir: Path, should_stop: Callable[[], bool], attempt: int = 1
) -> Literal["completed", "cancelled"]:
    """Train an adapter and leave it in `run_dir/adapter`. Polls `should_stop` each step; a stopped run saves what it has.

    Raises UserError `loss_not_finite`, `disk_full`, `disk_nearly_full`, `model_…`, `data_…`.
    """
    recorder = Recorder(run_dir, attempt)
    try:
        run = prepare_run(config, model_path, data_path, run_dir, recorder)
        return _loop(run, should_stop)
    finally:
        recorder.close()


def prepare_run(config: TrainConfig, model_path: Path, data_path: Path, run_dir: Path, recorder: Recorder) -> Run:
    """Load, encode, put LoRA layers on; record what will be trained."""
    method = METHODS[config.method]
    base = load_model(model_path)
    recorder.beat()
    rules = EncodingRules(config.max_seq_length, config.mask_prompt, config.validation_share, config.seed)
    rows = encode_dataset(data_path, method.row_kinds, base.tokenizer, rules)
    forward, reason = choose_forward(base.model, rows.train)
    forward = dataclasses.replace(forward, packing=forward.packing and config.packing)
    mx.random.seed(config.seed)
    keys = find_lora_keys(base.model, config.lora_parameters.keys)
    lora = dataclasses.asdict(config.lora_parameters) | {"keys": keys}
    add_lora(base.model, config.num_layers, lora)
    mx.eval(base.model.parameters())
    saver = AdapterSaver(run_dir, base.model, adapter_config(config.num_layers, lora, model_path, hash_model(model_path)))
    total, trainable = count_parameters(base.model)
    recorder.event(
        "run_started", rows=len(rows.train), valid_rows=len(rows.valid), parameters=total, trainable_parameters=trainable,
        device=device_name(), blas=blas_name(), tokens=rows.tokens, supervised_tokens=rows.supervised_tokens,
        packing=forward.packing, labels_only=forward.labels_only, chunked=forward.chunked,
    )  # fmt: skip
    if reason and config.packing:
        recorder.event("packing_off", reason=reason)
    for kind, count in (("rows_left_out", rows.left_out), ("rows_cut", rows.cut)):
        if count:
            recorder.event(kind, count=count)
    probes = choose_probes(data_path, rows.valid_source)
    return Run(config, base, rows, method.loss(), forward, make_optimizer(config), recorder, saver, probes)


def _loop(run: Run, should_stop: Callable[[], bool]) -> Literal["completed", "cancelled"]:
    config, model = run.config, run.base.model
    gradient_of = nn.value_and_grad(model, run.loss)
    _validate(run, 0)
    model.train()
    run.window = Window()
    batches = iterate_batches(run.rows.train, config.batch_size, config.max_seq_length, config.seed, packed=run.forward.packing)
    for step, batch in zip(range(1, config.iters + 1), batches, strict=False):
        if should_stop():
            return _end(run, step - 1, "cancelled")
        grad_norm = _take_step(run, gradient_of, batch, step)
        run.recorder.beat()
        if step in {1, config.iters} or step % config.steps_per_report == 0:
            _report(run, step, batch, grad_norm)
        if step == config.iters or step % config.steps_per_eval == 0:
            _validate(run, step)
        if step % config.save_every == 0 and step != config.iters:
            run.saver.save_checkpoint(step)
            run.recorder.event("checkpoint", step=step)
    return _end(run, config.iters, "completed")


def _take_step(run: Run, gradient_of: Callable[..., Any], batch: Batch, step: int) -> float:
    """Do one optimiser step on the token mean of the batch; return the gradient's norm before clipping."""
    mx.random.seed(_step_seed(run.config.seed, step))  # dropout depends on (seed, step) alone
    loss_sum, gradient = gradient_of(run.base.model, batch, run.forward)
    count = max(1, batch.supervised_tokens)
    limit = run.config.grad_clip or math.inf
    gradient, norm = optim.clip_grad_norm(gradient, limit * count)  # of the sum: clipping commutes with the division below
    gradient = nn.utils.tree_map(lambda g: g / count, gradient)
    run.optimizer.learning_rate = learning_rate_at(run.config, step)
    run.optimizer.update(run.base.model, gradient)
    mx.eval(run.base.model.trainable_parameters(), run.optimizer.state, loss_sum, norm)
    loss, grad_norm = float(loss_sum.item()), float(norm.item()) / count
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        run.recorder.metrics(step, train_loss=loss / count, grad_norm=grad_norm)
        raise UserError("loss_not_finite", step=step, learning_rate=run.config.learning_rate)
    window = run.window
    window.loss_sum += loss
    window.supervised_tokens += batch.supervised_tokens
    window.tokens += batch.tokens
    window.steps += 1
    run.tokens_seen += batch.tokens
    return grad_norm


def _step_seed(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) % (2**63)


def _report(run: Run, step: int, batch: Batch, grad_norm: float) -> None:
    window, now = run.window, time.perf_counter()
    seconds = max(1e-9, now - window.began)
    loss = window.loss_sum / max(1, window.supervised_tokens)
    figures: dict[str, float] = {
        "train_loss": loss, "learning_rate": learning_rate_at(run.config, step), "tokens_per_second": window.tokens / seconds,
        "seconds_per_step": seconds / window.steps, "peak_memory_bytes": mx.get_peak_memory(), "tokens_seen": run.tokens_seen,
        "grad_norm": grad_norm, "epoch": batch.epoch, "elapsed_seconds": now - run.began,
    }  # fmt: skip
    run.recorder.metrics(step, **figures)
    logger.info("step %d/%d  loss %.4f  %.0f tokens/s", step, run.config.iters, loss, figures["tokens_per_second"])
    run.window = Window()


def _validate(run: Run, step: int) -> None:
    """Measure the loss on the validation rows and write the probes' answers; the time is not counted as training."""
    began = time.perf_counter()
    model = run.base.model
    model.eval()
    total, count = 0.0, 0
    for batch in all_batches(run.rows.valid, run.config.batch_size, run.config.max_seq_length, run.config.val_batches, run.forward.packing):
        total += float(run.loss(model, batch, run.forward))
        count += batch.supervised_tokens
        run.recorder.beat()
    if count:
        loss = total / count
        run.recorder.metrics(step, val_loss=loss, val_perplexity=math.exp(min(loss, 700)))
        logger.info("step %d/%d  validation loss %.4f", step, run.config.iters, loss)
    for probe in run.probes:
        text = generate_text(model, run.base.tokenizer, probe.messages, SAMPLE_TOKENS)
        run.recorder.event("sample", step=step, prompt=probe.prompt, text=text, expected=probe.expected)
        run.recorder.beat()
    model.train()
    run.window.began += time.perf_counter() - began


def _end(run: Run, step: int, status: Literal["completed", "cancelled"]) -> Literal["completed", "cancelled"]:
    run.saver.save_checkpoint(step)
    run.saver.save_adapter()
    run.recorder.event("checkpoint", step=step)
    return status
