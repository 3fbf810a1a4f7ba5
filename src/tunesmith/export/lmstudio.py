"""Puts a GGUF file or an MLX model folder where LM Studio looks for models, and takes it away again, never what we did not put there.

LM Studio's layout: `<models>/<publisher>/<model>/files`. Its own folder is named by `~/.lmstudio-home-pointer`, else it is `~/.lmstudio` or
the older `~/.cache/lm-studio`; `settings.json` in it may name another folder for models (`downloadsFolder`).
A marker file beside the model tells that we put it there, and which files.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.export.folder_files import shared_files, total_bytes
from tunesmith.store.files import read_json, write_json
from tunesmith.store.saved_folders import exchange, folder_beside
from tunesmith.system.memory import require_space
from tunesmith.system.paths import resolve_under
from tunesmith.system.progress import Report, silent

MARKER = ".tunesmith.json"
POINTER = ".lmstudio-home-pointer"
_HOMES = (".lmstudio", ".cache/lm-studio")
_PIECE_BYTES = 8 << 20


def find_models_folder(chosen: Path | None = None, home: Path | None = None) -> Path:
    """Return the folder of LM Studio's models: a person's choice, or where this account's LM Studio keeps them.

    Raises UserError `lmstudio_folder_missing`, `lmstudio_not_found`.
    """
    if chosen:
        if not chosen.expanduser().is_dir():
            raise UserError("lmstudio_folder_missing", folder=str(chosen))
        return chosen.expanduser()
    place = _own_folder(home or Path.home())
    if not place:
        raise UserError("lmstudio_not_found")
    named = _settings(place).get("downloadsFolder")
    return Path(named) if isinstance(named, str) and Path(named).is_dir() else place / "models"


def copy_to_lmstudio(source: Path, models: Path, publisher: str, name: str, report: Report = silent, replace: bool = False) -> Path:
    """Copy a GGUF file or a model folder to `models/publisher/name` and return that folder; there is all of it or nothing.

    With `replace`, one that we put there earlier gives way. Raises UserError `name_not_allowed`, `nothing_to_share`, `target_exists`,
    `lmstudio_not_ours`, `lmstudio_holds_more`, `disk_nearly_full`, `disk_full`, `no_permission`.
    """
    files = shared_files(source)
    target = resolve_under(resolve_under(models, publisher), name)
    if target.exists():
        _require_ours(target)
        if not replace:
            raise UserError("target_exists", name=name, folder=str(target.parent))
    needed = total_bytes(files)
    require_space(models, needed)
    with folder_beside(target) as aside:
        done = 0
        for file in files:
            done = _copy(file, aside / file.name, done, needed, report)
        write_json(aside / MARKER, {"made_by": "tunesmith", "files": {file.name: file.stat().st_size for file in files}})
        exchange(aside, target)
    report("copying", 1.0)
    return target


def remove_from_lmstudio(models: Path, publisher: str, name: str) -> None:
    """Take away a model that we put there; its publisher's folder goes too when it is empty.

    Raises UserError `name_not_allowed`, `lmstudio_not_ours`, `lmstudio_holds_more`.
    """
    target = resolve_under(resolve_under(models, publisher), name)
    if not target.exists():
        return
    _require_ours(target)
    shutil.rmtree(target)
    if not any(target.parent.iterdir()):
        target.parent.rmdir()


def _own_folder(home: Path) -> Path | None:
    """Return LM Studio's own folder in a person's home, None where there is none."""
    pointer = home / POINTER
    named = pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else ""
    places = [*([Path(named)] if named else []), *(home / place for place in _HOMES)]
    return next((place for place in places if place.is_dir()), None)


def _settings(place: Path) -> dict[str, Any]:
    try:
        found = read_json(place / "settings.json")
    except (OSError, UserError):  # another program's file: when it cannot be read, its usual folder stands
        return {}
    return found if isinstance(found, dict) else {}


def _require_ours(target: Path) -> None:
    """Refuse a folder that we did not put there, or to which something was added since."""
    try:
        ours = {*read_json(target / MARKER)["files"], MARKER}
    except (OSError, UserError, LookupError, TypeError) as error:
        raise UserError("lmstudio_not_ours", folder=str(target)) from error
    added = sorted(path.name for path in target.iterdir() if path.name not in ours and path.name != ".DS_Store")
    if added:
        raise UserError("lmstudio_holds_more", folder=str(target), files=", ".join(added[:5]))


def _copy(source: Path, target: Path, done: int, total: int, report: Report) -> int:
    """Copy a file in pieces and return the bytes done so far."""
    with source.open("rb") as reader, target.open("wb") as writer:
        while piece := reader.read(_PIECE_BYTES):
            writer.write(piece)
            done += len(piece)
            report("copying", done / total)
    return done
