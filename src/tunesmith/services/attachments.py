"""What a run takes with it into its folder: the adapter that it begins from, copies of the reward files. Looked at before the start."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from tunesmith.data.formats import POLICY
from tunesmith.errors import UserError
from tunesmith.services import adapters
from tunesmith.services.context import Services
from tunesmith.store.files import read_json
from tunesmith.system.paths import resolve_under, typed_path
from tunesmith.training.config import TrainConfig
from tunesmith.training.rewards.custom import RewardFile

LARGEST_REWARD_FILE_BYTES = 1_000_000
LOADING_SECONDS = 5.0


def rewards_folder(s: Services) -> Path:
    """Return where people who run this computer put their reward files."""
    return s.data_dir / "rewards"


def attachments(s: Services, config: TrainConfig) -> dict[str, Path]:
    """Return what a run's folder gets, by name. Raises UserError `adapter_missing`, `adapter_shape_differs`, `reward_file_…`."""
    found: dict[str, Path] = {}
    if config.resume_adapter_file:
        found["begin"] = find_adapter(s, config.resume_adapter_file)
        _check_shape(s, config, found["begin"])
    if config.method in POLICY:
        for spec in config.policy.rewards:
            if spec.is_custom:
                path = found[f"rewards/{spec.file}"] = find_reward_file(s, spec.file)
                if spec.name not in (known := functions_of(path)):
                    raise UserError("reward_function_unknown", function=spec.name, file=spec.file, known=", ".join(known) or "–")
    return found


def find_adapter(s: Services, name: str) -> Path:
    """Return an adapter by its id (a run's by the run's), or the adapter folder at a path.

    Raises UserError `adapter_missing`, `path_for_admins`, `path_of_windows`.
    """
    if not any(c in name for c in "/\\~"):
        return adapters.find_adapter(s, name).path
    path = typed_path(name)
    s.require_path(path)
    return path if (path / "adapter_config.json").is_file() else adapters.find_adapter(s, name).path


def find_reward_file(s: Services, name: str) -> Path:
    """Return a file of the rewards folder. Raises UserError `reward_file_missing`, `reward_file_too_large`, `name_not_allowed`."""
    path = resolve_under(rewards_folder(s), name)
    if path.suffix != ".py" or not path.is_file():
        raise UserError("reward_file_missing", file=name)
    if path.stat().st_size > LARGEST_REWARD_FILE_BYTES:
        raise UserError("reward_file_too_large", file=name, limit_bytes=LARGEST_REWARD_FILE_BYTES)
    return path


def functions_of(path: Path) -> list[str]:
    """Return the functions of a reward file; it is loaded once as long as it does not change. Raises UserError `reward_…`."""
    state = path.stat()
    found = _load(path, state.st_mtime_ns, state.st_size)
    if isinstance(found, UserError):
        raise UserError(found.code, **found.facts)
    return found


@lru_cache(maxsize=256)
def _load(path: Path, changed_ns: int, size_bytes: int) -> list[str] | UserError:
    del changed_ns, size_bytes  # parts of the key
    file = RewardFile(path, seconds=LOADING_SECONDS)
    try:
        return file.functions()
    except UserError as error:
        return error
    finally:
        file.close()


def _check_shape(s: Services, config: TrainConfig, folder: Path) -> None:
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
        name = s.store.display_name(s.store.get(folder.parent.name)) if folder.parent.parent == s.store.experiments else str(folder)
        raise UserError("adapter_shape_differs", adapter=name, settings="; ".join(different))
