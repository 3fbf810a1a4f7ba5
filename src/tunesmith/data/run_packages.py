"""Runs as a zip file: written in one pass, read back as a stranger's. Knows a run's files by name, not what stands in them.

    MANIFEST.json            format, version, and of each run its id and its files with size and SHA-256; written last
    runs/<id>/<file>         as in the run's folder

Nothing of a package is written before all of its list is checked, and nothing that is not in its manifest is read.
"""

from __future__ import annotations

import hashlib
import re
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import orjson

from tunesmith.data.readers.archives import (
    CHUNK_BYTES,
    LARGEST_RATIO,
    SMALLEST_CHECKED_BYTES,
    check_plausible,
    checked_entries,
    open_entry,
    printable,
)
from tunesmith.errors import UserError
from tunesmith.store.run_folder import RunFolder
from tunesmith.system.environment import package_versions
from tunesmith.system.progress import Report

FORMAT, VERSION, MANIFEST = "tunesmith-runs", 1, "MANIFEST.json"
MOST_BYTES, MOST_FILES, MOST_RUNS = 200_000_000_000, 20_000, 500
LARGEST_MANIFEST_BYTES, LARGEST_RECORD_BYTES = 32_000_000, 4_000_000
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # zip's own: the same runs make the same bytes
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SINGLE = (
    "experiment.json", "labels.json", "config.yaml", "environment.json", "outcome.json", "metrics.jsonl", "events.jsonl",
    "rollouts.jsonl", "log.txt",
)  # fmt: skip
_RECORDS = {name for name in _SINGLE if name.endswith((".json", ".yaml"))}
_FOLDERS = ("adapter", "best", "begin", "rewards")
_REWARD = r"rewards/[\w-]{1,100}\.py"
_ALLOWED = re.compile(
    rf"(?:{'|'.join(re.escape(name) for name in _SINGLE)}|(?:adapter|best|begin)/[A-Za-z][\w-]{{0,60}}\.(?:json|safetensors)|{_REWARD}"
    r"|checkpoints/step-\d{1,9}/[A-Za-z][\w-]{0,60}\.(?:json|safetensors))"
)
REQUIRED = ("experiment.json", "config.yaml")


@dataclass(frozen=True)
class PackedFile:
    """A file of a run as the manifest lists it."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class PackedRun:
    """A run in a package."""

    id: str
    files: tuple[PackedFile, ...]

    @property
    def size_bytes(self) -> int:
        """The bytes of all its files."""
        return sum(file.size_bytes for file in self.files)


def files_of_run(folder: RunFolder, checkpoints: bool = False) -> list[tuple[Path, str]]:
    """Return the files of a run that a package holds, and their names in it; links are none of them."""
    found = [folder.path / name for name in _SINGLE]
    for name in (*_FOLDERS, *(f"checkpoints/step-{step}" for step in folder.checkpoint_steps() if checkpoints)):
        found += sorted((folder.path / name).glob("*"))
    named = [(path, path.relative_to(folder.path).as_posix()) for path in found if path.is_file() and not path.is_symlink()]
    return [(path, name) for path, name in named if _ALLOWED.fullmatch(name)]


def write_package(target: IO[bytes], folders: Sequence[RunFolder], checkpoints: bool, report: Report | None = None) -> None:
    """Write runs as a package, piece by piece. Raises OSError when the disk is full."""
    runs, done = [], 0
    total = sum(path.stat().st_size for folder in folders for path, _ in files_of_run(folder, checkpoints))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in folders:
            files = {}
            for path, name in files_of_run(folder, checkpoints):
                files[name] = _add_file(archive, path, f"runs/{folder.path.name}/{name}")
                done += files[name]["size_bytes"]
                if report:
                    report("packing", done / max(1, total))
            runs.append({"id": folder.path.name, "files": files})
        manifest = {"format": FORMAT, "v": VERSION, "made_at": time.time(), "versions": package_versions(), "runs": runs}
        archive.writestr(zipfile.ZipInfo(MANIFEST, _FIRST_DATE), orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


def _add_file(archive: zipfile.ZipFile, path: Path, name: str) -> dict[str, Any]:
    entry = zipfile.ZipInfo(name, _FIRST_DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED if path.suffix != ".safetensors" and _packs_plausibly(path) else zipfile.ZIP_STORED
    entry.external_attr = 0o600 << 16
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            target.write(chunk)
    return {"size_bytes": size, "sha256": digest.hexdigest()}


def _packs_plausibly(path: Path) -> bool:
    """Whether a reader would believe the file: a log of one line a million times packs like a bomb."""
    if path.stat().st_size <= SMALLEST_CHECKED_BYTES:
        return True
    packer, packed = zlib.compressobj(), 0
    with path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            packed += len(packer.compress(chunk))
    packed += len(packer.flush())
    return path.stat().st_size < packed * LARGEST_RATIO * 0.9


class Package:
    """A checked package: its list is one that could be ours. What the files hold is not looked at, but their hashes are.

    Raises UserError `file_missing`, `package_not_one`, `package_too_new`, `package_broken`, `package_entry_not_allowed`, `archive_…`,
    `data_…`.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError("file_missing", file=str(path))
        if not zipfile.is_zipfile(path):
            raise UserError("package_not_one", file=printable(path.name))
        self.path = path
        entries = checked_entries(path, MOST_BYTES, MOST_FILES)
        self._entries = {entry.filename: entry for entry in entries}
        if len({name.lower() for name in self._entries}) < len(entries):
            raise self._broken("names")
        self.runs = list(self._read_manifest())

    def _read_manifest(self) -> Iterator[PackedRun]:
        entry = self._entries.get(MANIFEST)
        if entry is None:
            raise UserError("package_not_one", file=printable(self.path.name))
        if entry.file_size > LARGEST_MANIFEST_BYTES:
            raise self._broken(MANIFEST)
        with open_entry(self.path, entry) as stream:
            text = stream.read(LARGEST_MANIFEST_BYTES)
        try:
            manifest = orjson.loads(text)
            told, version, runs = manifest["format"], manifest["v"], manifest["runs"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise self._broken(MANIFEST) from error
        if told != FORMAT:
            raise UserError("package_not_one", file=printable(self.path.name))
        if not isinstance(version, int) or version > VERSION:
            raise UserError("package_too_new", file=printable(self.path.name), version=printable(str(version))[:20], known=VERSION)
        if not isinstance(runs, list) or not 1 <= len(runs) <= MOST_RUNS:
            raise self._broken("runs")
        found = [self._check_run(run) for run in runs]
        listed = {f"runs/{run.id}/{file.name}" for run in found for file in run.files}
        if len({run.id.lower() for run in found}) < len(found):
            raise self._broken("ids")
        if extra := sorted(set(self._entries) - listed - {MANIFEST}):
            raise UserError("package_entry_not_allowed", file=printable(self.path.name), entry=printable(extra[0]))
        yield from found

    def _check_run(self, run: Any) -> PackedRun:
        if not isinstance(run, dict) or not isinstance(run.get("files"), dict) or not _RUN_ID.fullmatch(str(run.get("id"))):
            raise self._broken("runs")
        files = tuple(self._check_file(str(run["id"]), name, facts) for name, facts in run["files"].items())
        if missing := [name for name in REQUIRED if name not in run["files"]]:
            raise self._broken(missing[0])
        return PackedRun(str(run["id"]), files)

    def _check_file(self, run: str, name: str, facts: Any) -> PackedFile:
        if not _ALLOWED.fullmatch(name):
            raise UserError("package_entry_not_allowed", file=printable(self.path.name), entry=printable(name))
        entry = self._entries.get(f"runs/{run}/{name}")
        size, digest = (facts.get("size_bytes"), facts.get("sha256")) if isinstance(facts, Mapping) else (None, None)
        if entry is None or entry.file_size != size or not _SHA256.fullmatch(str(digest)):
            raise self._broken(name)
        if name in _RECORDS and entry.file_size > LARGEST_RECORD_BYTES:
            raise self._broken(name)
        check_plausible(self.path, entry)
        return PackedFile(name, entry.file_size, str(digest))

    def unpack(self, run: PackedRun, target: Path, places: Mapping[str, str]) -> None:
        """Write a run's files under a folder; `places` names other folders for those of some.

        Raises UserError `package_broken`, `data_file_broken`, OSError.
        """
        for file in run.files:
            folder, _, rest = file.name.partition("/")
            path = target / (PurePosixPath(places[folder]) / rest if rest and folder in places else PurePosixPath(file.name))
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            digest, left = hashlib.sha256(), file.size_bytes
            with open_entry(self.path, self._entries[f"runs/{run.id}/{file.name}"]) as stream, path.open("xb") as out:
                while left > 0 and (chunk := stream.read(min(CHUNK_BYTES, left))):
                    left -= len(chunk)
                    digest.update(chunk)
                    out.write(chunk)
            if digest.hexdigest() != file.sha256:
                raise self._broken(file.name)

    def _broken(self, part: str) -> UserError:
        return UserError("package_broken", file=printable(self.path.name), part=printable(part))
