"""Everything before the first step: model, rows, adapter, optimiser, and the newest checkpoint. Knows no loop."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from tunesmith.data.batching import BatchRules, attention_width, pass_tokens
from tunesmith.data.formats import POLICY
from tunesmith.errors import UserError
from tunesmith.models.adapter_files import adapter_config, load_adapter_weights, read_adapter_config
from tunesmith.models.loading import LoadedModel, count_parameters, hash_model, load_model
from tunesmith.models.reference import Reference
from tunesmith.models.tuning import checkpoint_layers, find_lora_keys, make_trainable, put_weights, quantize_base
from tunesmith.store.run_folder import RunFolder
from tunesmith.store.saved_folders import verify_folder
from tunesmith.system.device import blas_name, device_name
from tunesmith.training.checkpoints import Checkpoints
from tunesmith.training.config import TrainConfig
from tunesmith.training.events import Recorder
from tunesmith.training.forward import choose_forward, try_shared_prompts
from tunesmith.training.processes import Processes
from tunesmith.training.registry import METHODS
from tunesmith.training.samples import choose_probes
from tunesmith.training.schedule import make_optimizer
from tunesmith.training.task import Run, Task

GB = 1_000_000_000
COMPARED = ("dpo", *POLICY)  # methods that look at what the base would say


def prepare_run(
    config: TrainConfig, model_path: Path, data_path: Path, run_dir: Path, recorder: Recorder, processes: Processes | None = None
) -> Run:
    """Load, encode, make trainable, and go to where the newest checkpoint stands; record what will be trained.

    Raises UserError `model_…`, `data_…`, `dataset_…`, `modules_unknown`, `adapter_…`, `reward_…`, `checkpoint_of_another_config`,
    `saved_folder_damaged`.
    """
    processes = processes or Processes()
    _set_memory_limits(config)
    base = load_model(model_path)
    recorder.beat()
    task: Task = METHODS[config.method].task.open(config, base, data_path, run_dir)
    recorder.beat()
    quantize_base(base.model, config.quantize)
    base.model.freeze()  # the trial must see the head as the run will
    forward, reason = choose_forward(base.model, task.trial)
    forward = dataclasses.replace(forward, packing=forward.packing and config.packing)
    of_policy = METHODS[config.method].family == "policy"
    if of_policy and not config.grad_checkpoint:  # its blocks would keep keys without their way back
        forward = try_shared_prompts(base.model, task.trial, forward)
    rules = BatchRules(
        config.batch_size, config.max_seq_length, config.seed, forward.packing, config.grad_accumulation_steps,
        attention_width(base.config), config.pass_tokens or pass_tokens(device_name()),
    )  # fmt: skip
    description = _make_trainable(config, base)
    reference = Reference(base.model, wanted=config.method in COMPARED)
    _begin_from_adapter(RunFolder(run_dir).begin, base, description)
    optimizer = make_optimizer(config)
    optimizer.init(base.model.trainable_parameters())
    checkpoints = Checkpoints(run_dir, base.model, optimizer, description)
    if processes.writes:
        checkpoints.require_space()
    system = config.policy.system_prompt if of_policy else ""
    run = Run(
        config, base, task, rules, rules.steps(task.count, config.iters, config.epochs), forward, optimizer, reference, recorder,
        checkpoints, choose_probes(data_path, task.valid_source, config.sample_prompts, system), checkpoints.load_newest(), processes,
    )  # fmt: skip
    task.begin(run)
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
        checkpoint_layers(base.model, shape.dropout)
    mx.eval(base.model.parameters())
    return adapter_config(
        config.fine_tune_type, config.num_layers, lora, base.path, hash_model(base.path), config.quantize, config.template
    )


def _begin_from_adapter(folder: Path, base: LoadedModel, description: dict[str, Any]) -> None:
    """Put the weights of the adapter that the run begins from, if any, into the model.

    Raises UserError `adapter_…`, `adapter_shape_differs` naming the settings that must be as the adapter's are.
    """
    if not folder.is_dir():
        return
    verify_folder(folder)
    config = read_adapter_config(folder, base.path, description["base_model_hash"])
    ours, theirs = description["lora_parameters"], config["lora_parameters"]
    facts = [("tuning", config.get("fine_tune_type"), description["fine_tune_type"])]
    facts += [(name, theirs.get(name), ours[name]) for name in ("rank", "scale", "keys")]
    if different := [f"{name}: {its}" for name, its, own in facts if its != own]:
        raise UserError("adapter_shape_differs", adapter=str(config.get("model")), settings="; ".join(different)[:300])
    weights = load_adapter_weights(folder)
    if {name: w.shape for name, w in weights.items()} != {name: w.shape for name, w in _trainable(base.model).items()}:
        raise UserError("adapter_shape_differs", adapter=str(config.get("model")), settings=f"num_layers: {config.get('num_layers')}")
    put_weights(base.model, weights)
    mx.eval(base.model.parameters())


def _trainable(model: Any) -> dict[str, mx.array]:
    return dict(tree_flatten(model.trainable_parameters()))


def _record_start(run: Run, packing_off: str) -> None:
    task, forward, recorder = run.task, run.forward, run.recorder
    if run.progress.step:
        recorder.resumed(run.progress.step)
        recorder.event("resumed", step=run.progress.step)
        return
    total, trainable = count_parameters(run.base.model)
    recorder.event(
        "run_started", rows=task.count, parameters=total, trainable_parameters=trainable, device=device_name(), blas=blas_name(),
        steps=run.steps, packing=forward.packing, labels_only=forward.labels_only, chunked=forward.chunked,
        shared_prompts=forward.shared_prompts, processes=run.processes.count, **task.facts,
    )  # fmt: skip
    if packing_off and run.config.packing:
        recorder.event("packing_off", reason=packing_off)
    for kind, count in task.notes:
        if count:
            recorder.event(kind, count=count)
