"""What a run takes with it into its folder: the adapter that it begins from, copies of the reward files. Looked at before the start."""

from __future__ import annotations

from pathlib import Path

from tunesmith.data.formats import POLICY
from tunesmith.errors import UserError
from tunesmith.services.context import Services
from tunesmith.store.files import read_json
from tunesmith.system.paths import resolve_under
from tunesmith.training.config import TrainConfig

LARGEST_REWARD_FILE_BYTES = 1_000_000


def rewards_folder(s: Services) -> Path:
    """Return where people who run this computer put their reward files."""
    return s.data_dir / "rewards"


def attachments(s: Services, config: TrainConfig) -> dict[str, Path]:
    """Return what a run's folder gets, by name. Raises UserError `adapter_missing`, `adapter_shape_differs`, `reward_file_…`."""
    found: dict[str, Path] = {}
    if config.resume_adapter_file:
        found["begin"] = find_adapter(s, config.resume_adapter_file)
        _check_shape(config, found["begin"])
    if config.method in POLICY:
        for spec in config.policy.rewards:
            if spec.is_custom:
                found[f"rewards/{spec.file}"] = find_reward_file(s, spec.file)
    return found


def find_adapter(s: Services, name: str) -> Path:
    """Return the adapter of a run, or the adapter folder at a path. Raises UserError `adapter_missing`."""
    path = Path(name).expanduser()
    if "/" in name and (path / "adapter_config.json").is_file():
        return path
    try:
        folder = s.store.folder(name)
    except UserError as error:
        raise UserError("adapter_missing", run=name) from error
    if not folder.has_adapter():
        raise UserError("adapter_missing", run=name)
    return folder.adapter


def find_reward_file(s: Services, name: str) -> Path:
    """Return a file of the rewards folder. Raises UserError `reward_file_missing`, `reward_file_too_large`, `name_not_allowed`."""
    path = resolve_under(rewards_folder(s), name)
    if path.suffix != ".py" or not path.is_file():
        raise UserError("reward_file_missing", file=name)
    if path.stat().st_size > LARGEST_REWARD_FILE_BYTES:
        raise UserError("reward_file_too_large", file=name, limit_bytes=LARGEST_REWARD_FILE_BYTES)
    return path


def _check_shape(config: TrainConfig, folder: Path) -> None:
    """Refuse settings that do not fit the adapter; the worker looks at base and modules too."""
    described = read_json(folder / "adapter_config.json")
    theirs = described.get("lora_parameters", {})
    ours = {
        "tuning": (described.get("fine_tune_type"), config.fine_tune_type),
        "rank": (theirs.get("rank"), config.lora_parameters.rank),
        "scale": (theirs.get("scale"), config.lora_parameters.effective_scale),
        "num_layers": (described.get("num_layers"), config.num_layers),
    }
    if different := [f"{name}: {its}" for name, (its, own) in ours.items() if its != own]:
        raise UserError("adapter_shape_differs", adapter=folder.parent.name, settings="; ".join(different))
