"""The job that takes in a model that was uploaded, as a zip file or as its files: looked at as a download is, then ours as a whole."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from tunesmith.data.readers.archives import check_plausible, checked_entries, open_entry
from tunesmith.errors import UserError
from tunesmith.jobs.job_kinds import Request
from tunesmith.models.folder_layout import MANIFEST
from tunesmith.models.hub_files import ModelFile, choose_files
from tunesmith.models.safety import check_model_folder, check_model_settings
from tunesmith.models.weights import require_supported
from tunesmith.store.files import write_json
from tunesmith.store.saved_folders import whole_folder
from tunesmith.store.uploads import drop_upload
from tunesmith.system.memory import require_space
from tunesmith.system.progress import Report

Put = Callable[[str, Path], None]  # puts a file, by its name, at a path


def take_model(request: Request, report: Report) -> dict[str, Any]:
    """Put an uploaded model among ours; the upload is gone afterwards.

    Raises UserError `model_…`, `archive_…`, `data_…`, `target_exists`, `disk_…`.
    """
    held, target = Path(request["path"]), Path(request["target_path"])
    report("checking", 0.0)
    try:
        zipped = [path for path in held.iterdir() if path.suffix.lower() == ".zip"]
        files, put = _in_zip(zipped[0], request["most_bytes"], report) if zipped else _as_they_are(held)
        chosen = choose_files(target.name, files)
        require_space(target.parent, sum(file.size_bytes for file in chosen) if zipped else 0)
        with whole_folder(target) as arriving:
            _receive(chosen, put, arriving)
            report("checking", 0.0)
            check_model_folder(arriving)
            write_json(arriving / MANIFEST, request["lineage"])
    finally:
        drop_upload(Path(request["data_dir"]), held)
    return {"model": target.name, "path": str(target)}


def _receive(chosen: list[ModelFile], put: Put, arriving: Path) -> None:
    """Put settings and tokenizer in their places, look at them, then the weights."""
    for file in chosen:
        if not file.is_weights:
            put(file.name, arriving / file.name)
    require_supported(check_model_settings(arriving), arriving.name)
    for file in chosen:
        if file.is_weights:
            put(file.name, arriving / file.name)


def _as_they_are(held: Path) -> tuple[list[ModelFile], Put]:
    files = [ModelFile(path.name, path.stat().st_size) for path in held.iterdir()]
    return files, lambda name, path: (held / name).rename(path) and None


def _in_zip(archive: Path, most_bytes: int, report: Report) -> tuple[list[ModelFile], Put]:
    """Return the files beside the config.json nearest to the top, and what unpacks one."""
    entries = {PurePosixPath(entry.filename): entry for entry in checked_entries(archive, most_bytes)}
    homes = sorted((len(path.parts), path.parent) for path in entries if path.name == "config.json")
    if not homes:
        raise UserError("model_config_missing", folder=archive.name)
    if len(homes) > 1 and homes[0][0] == homes[1][0]:
        raise UserError("model_several_in_zip", file=archive.name, places=", ".join(str(home) for _, home in homes[:5]))
    own = {path.name: entry for path, entry in entries.items() if path.parent == homes[0][1]}
    done, total = 0, max(1, sum(entry.file_size for entry in own.values()))

    def put(name: str, path: Path) -> None:
        nonlocal done
        check_plausible(archive, own[name])
        done = _unpack(archive, own[name], path, done, lambda count: report("unpacking", count / total))

    return [ModelFile(name, entry.file_size) for name, entry in own.items()], put


def _unpack(archive: Path, entry: zipfile.ZipInfo, path: Path, done: int, tell: Callable[[int], object]) -> int:
    """Write one file and return the bytes of all files so far."""
    with open_entry(archive, entry) as stream, path.open("xb") as target:
        while piece := stream.read():
            target.write(piece)
            done += len(piece)
            tell(done)
    return done
