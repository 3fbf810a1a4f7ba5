"""Everything before the first step: model, rows, adapter, optimiser, and the newest checkpoint. Knows no loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from tunesmith.data.batching import BatchRules, attention_width, pass_tokens
from tunesmith.data.encoding import EncodedRows, EncodingRules, encode_dataset
from tunesmith.models.adapter_files import adapter_config
from tunesmith.models.loading import LoadedModel, count_parameters, hash_model, load_model
from tunesmith.models.tuning import checkpoint_layers, find_lora_keys, make_trainable, quantize_base
from tunesmith.system.device import blas_name, device_name
from tunesmith.training.batches import Batch
from tunesmith.training.checkpoints import Checkpoints
from tunesmith.training.config import TrainConfig
from tunesmith.training.events import Recorder
from tunesmith.training.forward import Forward, choose_forward
from tunesmith.training.health import Health
from tunesmith.training.processes import Processes
from tunesmith.training.progress import Progress
from tunesmith.training.registry import METHODS
from tunesmith.training.samples import Probe, choose_probes
from tunesmith.training.schedule import make_optimizer

Loss = Callable[[Any, Batch, Forward], mx.array]
GB = 1_000_000_000


@dataclass
class Run:
    """Everything that the loop holds while it runs; `steps` is where it ends."""

    config: TrainConfig
    base: LoadedModel
    rows: EncodedRows
    rules: BatchRules
    steps: int
    loss: Loss
    forward: Forward
    optimizer: Any
    recorder: Recorder
    checkpoints: Checkpoints
    probes: list[Probe]
    progress: Progress
    processes: Processes
    health: Health = field(default_factory=Health)


def prepare_run(
    config: TrainConfig, model_path: Path, data_path: Path, run_dir: Path, recorder: Recorder, processes: Processes | None = None
) -> Run:
    """Load, encode, make trainable, and go to where the newest checkpoint stands; record what will be trained.

    Raises UserError `model_…`, `data_…`, `dataset_…`, `modules_unknown`, `checkpoint_of_another_config`, `saved_folder_damaged`.
    """
    processes = processes or Processes()
    method = METHODS[config.method]
    _set_memory_limits(config)
    base = load_model(model_path)
    recorder.beat()
    encoding = EncodingRules(
        config.max_seq_length, config.loss_on, config.overlong, config.validation_share, config.seed, config.template
    )  # fmt: skip
    rows = encode_dataset(data_path, method.row_kinds, base.tokenizer, encoding)
    quantize_base(base.model, config.quantize)
    base.model.freeze()  # the trial must see the head as the run will
    forward, reason = choose_forward(base.model, rows.train)
    forward = dataclasses.replace(forward, packing=forward.packing and config.packing)
    rules = BatchRules(
        config.batch_size, config.max_seq_length, config.seed, forward.packing, config.grad_accumulation_steps,
        attention_width(base.config), config.pass_tokens or pass_tokens(device_name()),
    )  # fmt: skip
    steps = rules.steps(len(rows.train), config.iters, config.epochs)
    description = _make_trainable(config, base)
    optimizer = make_optimizer(config)
    optimizer.init(base.model.trainable_parameters())
    checkpoints = Checkpoints(run_dir, base.model, optimizer, description)
    if processes.writes:
        checkpoints.require_space()
    progress = checkpoints.load_newest()
    run = Run(
        config, base, rows, rules, steps, method.loss(), forward, optimizer, recorder, checkpoints,
        choose_probes(data_path, rows.valid_source, config.sample_prompts), progress, processes,
    )  # fmt: skip
    _record_start(run, reason)
    return run


def _set_memory_limits(config: TrainConfig) -> None:
    if config.cache_limit_gb:
        mx.set_cache_limit(int(config.cache_limit_gb * GB))
    if device_name() == "metal":
        wanted = int(config.wired_limit_gb * GB) or int(mx.device_info()["max_recommended_working_set_size"])
        mx.set_wired_limit(wanted)


def _make_trainable(config: TrainConfig, base: LoadedModel) -> dict[str, Any]:
    """Put the adapter on; return adapter_config.json."""
    mx.random.seed(config.seed)
    shape = config.lora_parameters
    lora = {
        "rank": shape.rank, "scale": shape.effective_scale, "dropout": shape.dropout,
        "keys": find_lora_keys(base.model, shape.keys, shape.custom_keys),
    }  # fmt: skip
    make_trainable(base.model, config.fine_tune_type, config.num_layers, lora)
    if config.grad_checkpoint:
        checkpoint_layers(base.model)
    mx.eval(base.model.parameters())
    return adapter_config(
        config.fine_tune_type, config.num_layers, lora, base.path, hash_model(base.path), config.quantize, config.template
    )


def _record_start(run: Run, packing_off: str) -> None:
    rows, forward, recorder = run.rows, run.forward, run.recorder
    if run.progress.step:
        recorder.resumed(run.progress.step)
        recorder.event("resumed", step=run.progress.step)
        return
    total, trainable = count_parameters(run.base.model)
    recorder.event(
        "run_started", rows=len(rows.train), valid_rows=len(rows.valid), parameters=total, trainable_parameters=trainable,
        device=device_name(), blas=blas_name(), tokens=rows.tokens, supervised_tokens=rows.supervised_tokens, steps=run.steps,
        packing=forward.packing, labels_only=forward.labels_only, chunked=forward.chunked, processes=run.processes.count,
    )  # fmt: skip
    if packing_off and run.config.packing:
        recorder.event("packing_off", reason=packing_off)
    counts = (
        ("rows_left_out", rows.unusable),
        ("rows_without_labels", rows.without_labels),
        (f"rows_{run.config.overlong}", rows.overlong),
    )
    for kind, count in counts:
        if count:
            recorder.event(kind, count=count)
