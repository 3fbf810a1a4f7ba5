"""New runs: what a form's settings would do, and the start."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tunesmith.access.people import ADMIN, TRAINER
from tunesmith.data.batching import attention_width, pass_tokens
from tunesmith.data.formats import KINDS, POLICY, SFT
from tunesmith.errors import UserError
from tunesmith.inference.protocol import TokenReport
from tunesmith.jobs.measure import Measurement
from tunesmith.models.discovery import ModelInfo
from tunesmith.services.attachments import attachments
from tunesmith.services.context import Services
from tunesmith.services.datasets import DatasetSummary, find_dataset, summarise
from tunesmith.services.models import DEMO_MODEL_ID, find_model
from tunesmith.services.plan import MemoryPlan, plan_memory
from tunesmith.services.rights import needs
from tunesmith.settings.fields import check_values, is_for
from tunesmith.settings.files import from_mapping, parse_yaml, to_yaml
from tunesmith.system.device import device_name
from tunesmith.system.memory import disk_free_bytes
from tunesmith.system.paths import CONFIG, typed_path
from tunesmith.training.config import TrainConfig
from tunesmith.training.method_checks import check_method
from tunesmith.training.registry import METHODS, family_of
from tunesmith.training.rewards.registry import build_reward

MINIMUM_FREE_BYTES = 200_000_000
DEMO_DATA_OF = {"preference": "preference", "policy": "arithmetic", "sft": "company_facts"}


@dataclass(frozen=True)
class RunPreview:
    """What a run would do; `problems` prevent the start, `warnings` do not."""

    problems: list[UserError] = field(default_factory=list)
    warnings: list[UserError] = field(default_factory=list)
    train_rows: int | None = None
    valid_rows: int | None = None
    steps: int = 0
    epochs: float | None = None
    tokens: int | None = None
    supervised_tokens: int | None = None
    longest_tokens: int | None = None
    overlong_rows: int | None = None
    seconds_estimate: float | None = None
    memory: MemoryPlan | None = None
    rows_without_labels: int | None = None
    lengths: Sequence[int] = ()
    padding_packed: float = 0.0
    padding_padded: float = 0.0
    changed: list[str] = field(default_factory=list)


def default_config(s: Services) -> TrainConfig:
    """Return the settings that a new form shows: the shipped model and settings, and over them what an admin chose.

    Raises UserError `setting_…` when the choice, written by hand, is wrong.
    """
    config = from_mapping(TrainConfig, {"model": DEMO_MODEL_ID, **s.settings.training_defaults})
    return dataclasses.replace(config, data=DEMO_DATA_OF[family_of(config.method)])


def parse_config(text: str) -> TrainConfig:
    """Return the settings in a YAML text. Raises UserError `yaml_unreadable`, `setting_unknown`, `setting_…`, `reward_unknown`."""
    values = parse_yaml(text, "config.yaml")
    config = from_mapping(TrainConfig, values)
    for entry in dataclasses.fields(TrainConfig):
        if entry.name in values and not is_for(entry, config.method):
            raise UserError("setting_of_other_method", field=entry.name, method=config.method)
    for spec in config.policy.rewards:
        if not spec.is_custom:
            build_reward(spec)
    return config


def changed_fields(config: TrainConfig) -> list[str]:
    """Return the names of the settings that differ from the method's defaults, model, data and name aside."""
    defaults = TrainConfig().with_method(config.method)
    changed: list[str] = []
    for entry in dataclasses.fields(config):
        ours, plain = getattr(config, entry.name), getattr(defaults, entry.name)
        if not is_for(entry, config.method):
            continue
        if dataclasses.is_dataclass(ours):
            changed += [f.name for f in dataclasses.fields(ours) if getattr(ours, f.name) != getattr(plain, f.name)]
        elif entry.name not in {"model", "data", "name", "method"} and ours != plain:
            changed.append(entry.name)
    return changed


def _find_problems(s: Services, config: TrainConfig) -> list[UserError]:
    problems: list[UserError] = []
    if not s.supervisor.in_charge:
        problems.append(UserError("server_read_only", folder=str(s.data_dir)))
    if not s.person.may(TRAINER):
        problems.append(UserError("role_needed", role=TRAINER))
    if (free := disk_free_bytes(s.data_dir)) < MINIMUM_FREE_BYTES:
        problems.append(UserError("disk_nearly_full", folder=str(s.data_dir), free_bytes=free, needed_bytes=MINIMUM_FREE_BYTES))
    checks = (
        lambda: check_values(config), lambda: find_model(s, config.model), lambda: find_dataset(s, config.data),
        lambda: require_own_computer(s, config), lambda: _check_together(config), lambda: check_method(config),
        lambda: attachments(s, config), lambda: _check_rows(s, config), lambda: _check_layers(config, find_model(s, config.model)),
    )  # fmt: skip
    for check in checks:
        try:
            check()
        except UserError as error:
            problems.append(error)
    return list({str(problem): problem for problem in problems}.values())


def require_own_computer(s: Services, config: TrainConfig) -> None:
    """Refuse a run on other computers, which are entered by this account's keys, to whoever is no admin. Raises UserError `role_needed`."""
    if config.hostfile and not s.person.may(ADMIN):
        raise UserError("role_needed", role=ADMIN)


def _check_together(config: TrainConfig) -> None:
    """Refuse settings that are right alone and wrong together."""
    if config.fine_tune_type == "full" and config.quantize != "none":
        raise UserError("full_tuning_of_quantized")
    if config.lora_parameters.keys == "custom" and not config.lora_parameters.custom_keys:
        raise UserError("modules_not_named")
    if config.hostfile and not typed_path(config.hostfile).is_file():
        raise UserError("file_missing", file=config.hostfile)
    _ = config.template  # a broken one is refused
    if config.keep_best and config.val_batches == 0:
        raise UserError("best_without_validation")


def _check_layers(config: TrainConfig, model: ModelInfo) -> None:
    if model.num_layers and config.num_layers > model.num_layers:
        raise UserError("too_many_layers", asked=config.num_layers, layers=model.num_layers)
    if config.fine_tune_type == "full" and model.quantization:
        raise UserError("full_tuning_of_quantized")


def _check_rows(s: Services, config: TrainConfig) -> None:
    """Refuse a data set without rows that the method can use."""
    kinds = METHODS[config.method].row_kinds
    found = summarise(find_dataset(s, config.data))
    if found.kinds and not any(kind in kinds for kind in found.kinds):
        raise UserError("data_not_for_method", data=config.data, method=config.method, wanted=", ".join(kinds))
    if config.method in POLICY and found.kinds:
        _check_columns(config, found)


def _check_columns(config: TrainConfig, data: DatasetSummary) -> None:
    """Refuse a reward that compares with a column which no row has."""
    own = {name for kind in data.kinds if kind in KINDS for name in (*KINDS[kind].columns, *KINDS[kind].optional)}
    columns = own | set(data.columns) | ({"answer"} if set(data.kinds) - {"prompt"} else set())
    for spec in config.policy.rewards:
        column = "" if spec.is_custom else getattr(build_reward(spec), "column", "")
        if column and column not in columns:
            raise UserError("reward_column_missing", function=spec.name, column=column, columns=", ".join(sorted(columns)))


def profiles() -> list[str]:
    """Return the names of the shipped profiles: settings that suit a purpose."""
    return sorted(path.stem for path in (CONFIG / "profiles").glob("*.yaml"))


def load_profile(name: str, model: str, data: str) -> TrainConfig:
    """Return a profile's settings for a model and a data set; a profile that names its own keeps them."""
    config = parse_config((CONFIG / "profiles" / f"{name}.yaml").read_text(encoding="utf-8"))
    return dataclasses.replace(config, model=config.model or model, data=config.data or data)


def preview(s: Services, config: TrainConfig, measured: Measurement | None = None) -> RunPreview:
    """Return what the run would do, token counts by the model's own tokenizer; a measurement makes memory and time sharper."""
    changed = changed_fields(config)
    if problems := _find_problems(s, config):
        return RunPreview(problems=problems, steps=config.iters, changed=changed)
    model, data = find_model(s, config.model), find_dataset(s, config.data)
    try:
        counted = _count(s, config, model, data.path)
    except UserError as error:
        return RunPreview(problems=[error], steps=config.iters, changed=changed)
    epochs = counted.steps / max(1, math.ceil(counted.rows / (config.batch_size * config.grad_accumulation_steps)))
    tokens = round(counted.tokens * epochs)
    lines, width, labels = counted.largest_batch
    longest = min(counted.longest_tokens, config.max_seq_length)
    memory = plan_memory(s, config, model, (lines, width, labels), longest, measured)
    return RunPreview(
        warnings=_find_warnings(config, counted, memory), train_rows=counted.rows, valid_rows=counted.valid_rows, steps=counted.steps,
        epochs=epochs, tokens=tokens, supervised_tokens=counted.supervised_tokens, longest_tokens=counted.longest_tokens,
        overlong_rows=counted.overlong_rows, seconds_estimate=_estimate_seconds(s, config, counted.steps, tokens, measured), memory=memory,
        changed=changed, rows_without_labels=counted.rows_without_labels, lengths=counted.lengths,
        padding_packed=counted.padding_packed, padding_padded=counted.padding_padded,
    )  # fmt: skip


def _count(s: Services, config: TrainConfig, model: ModelInfo, data: Path) -> TokenReport:
    method, policy = METHODS[config.method], config.policy
    common = {"validation_share": config.validation_share, "seed": config.seed, "template": config.template}
    own: dict[str, dict[str, object]] = {
        "sft": {"max_seq_length": config.max_seq_length, "loss_on": config.loss_on, "overlong": config.overlong},
        "preference": {"max_seq_length": config.max_seq_length},
        "policy": {"longest": config.max_seq_length - policy.max_completion_length, "system": policy.system_prompt},
    }
    length = {
        "iters": config.iters, "epochs": config.epochs, "max_completion_length": policy.max_completion_length,
        "num_generations": policy.num_generations,
    }  # fmt: skip
    rules: dict[str, object] = {**common, **own[method.family]}
    return s.host.count_tokens(model.path, data, method.family, method.row_kinds, rules, _batch_rules(config, model), length)


def _batch_rules(config: TrainConfig, model: ModelInfo) -> dict[str, object]:
    return {
        "batch_size": config.batch_size, "longest": config.max_seq_length, "seed": config.seed, "packed": config.packing,
        "accumulate": config.grad_accumulation_steps, "attention_width": attention_width({"hidden_size": model.hidden_size}),
        "pass_tokens": config.pass_tokens or pass_tokens(device_name()),
    }  # fmt: skip


def _find_warnings(config: TrainConfig, counted: TokenReport, memory: MemoryPlan) -> list[UserError]:
    warnings = []
    if counted.unusable_rows:
        warnings.append(UserError("preview_rows_left_out", count=counted.unusable_rows))
    if counted.endless_rows:
        warnings.append(UserError("preview_rows_endless", count=counted.endless_rows))
    if counted.rows_without_labels:
        warnings.append(UserError("preview_rows_without_labels", count=counted.rows_without_labels))
    if counted.overlong_rows:
        fate = config.overlong if config.method in SFT else "drop"
        warnings.append(UserError(f"preview_rows_{fate}", count=counted.overlong_rows, longest=config.max_seq_length))
    if memory.verdict != "fits":
        facts = {"peak_bytes": memory.peak_bytes, "budget_bytes": memory.budget_bytes}
        warnings.append(UserError(f"plan_{memory.verdict}", **facts))
    if not counted.valid_rows:
        warnings.append(UserError("preview_no_validation"))
    return warnings


def _estimate_seconds(s: Services, config: TrainConfig, steps: int, tokens: int, measured: Measurement | None) -> float | None:
    """Estimate from the measured pace, else from earlier runs of the same model on this computer; None when there was none."""
    if measured:
        return steps * measured.seconds_per_step if config.method not in SFT else tokens / measured.tokens_per_second
    if config.method not in SFT:
        return _estimate_by_steps(s, config, steps)
    paces = [
        e.summary["tokens_per_second"]
        for e in s.store.all()[0]
        if e.model == config.model and e.status == "completed" and e.summary.get("tokens_per_second")
    ]
    return tokens / median(paces[:5]) if paces else None


def _estimate_by_steps(s: Services, config: TrainConfig, steps: int) -> float | None:
    """Estimate from the seconds per step of completed runs with the same model, data and method."""
    same = [e for e in s.store.all()[0] if (e.model, e.data, e.method) == (config.model, config.data, config.method)]
    paces = [
        e.summary["duration_seconds"] / e.summary["steps"]
        for e in same
        if e.status == "completed" and e.summary.get("duration_seconds") and e.summary.get("steps")
    ]
    return steps * median(paces[:5]) if paces else None


@needs(TRAINER)
def start(s: Services, config: TrainConfig, group: str = "") -> str:
    """Put a run in the queue and return its id. Raises the first of the preview's problems."""
    require_startable(s, config)
    return submit(s, config, group)


def require_startable(s: Services, config: TrainConfig) -> None:
    """Refuse settings that cannot be run. Raises the first of the preview's problems."""
    if problems := _find_problems(s, config):
        raise problems[0]


@needs(TRAINER)
def submit(s: Services, config: TrainConfig, group: str = "", continued_from: str = "", kept: Mapping[str, Path] | None = None) -> str:
    """Put checked settings in the queue, whoever is in charge of it; return the run's id.

    `kept` are the files that it takes along in place of today's: those of a run that is done again.
    """
    require_own_computer(s, config)
    model, data = find_model(s, config.model), find_dataset(s, config.data)
    config = dataclasses.replace(config, data=config.data if data.pinned_id == data.id else data.pinned_id)  # versions never change
    experiment = s.store.create(
        to_yaml(config), name=config.name or f"{data.id} · {model.id}", kind="train", method=config.method, owner=s.person.name,
        model=model.id, data=data.pinned_id, model_path=str(model.path), data_path=str(data.path), group=group,
        continued_from=continued_from, begin_from=s.store.folder(continued_from) if continued_from else None,
        attachments=kept if kept is not None else _kept_rewards(s, continued_from) if continued_from else attachments(s, config),
    )  # fmt: skip
    s.supervisor.wake()
    return experiment.id


def _kept_rewards(s: Services, run_id: str) -> dict[str, Path]:
    """Return the reward files of a run as they were: what goes on from it is judged alike."""
    folder = s.store.folder(run_id).rewards
    return {"rewards": folder} if folder.is_dir() else {}


@needs(TRAINER)
def continue_run(s: Services, run_id: str, more: int) -> str:
    """Start a new run that goes on where a completed one ended, for `more` steps; its curve begins with the old one's.

    The schedule stretches over the new length. Raises UserError `run_not_continuable`, `setting_too_small`.
    """
    source = s.store.folder(run_id)
    done = source.newest_checkpoint_step()
    if s.store.get(run_id).status != "completed" or done is None:
        raise UserError("run_not_continuable", run=run_id)
    if more < 1:
        raise UserError("setting_too_small", field="iters", value=more, minimum=1)
    config = parse_config(source.config.read_text(encoding="utf-8"))
    name = f"{s.store.display_name(s.store.get(run_id))} +{more}"
    return submit(s, dataclasses.replace(config, iters=done + more, epochs=0.0, name=name), continued_from=run_id)
