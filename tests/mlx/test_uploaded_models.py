"""Uploaded models, as files and as zip files: the honest ones are taken in, of the hostile ones nothing is left."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.hostile_packed import zip_lies, zip_names
from tests.unit.models.test_hostile_models import CONFIG, HOSTILE, folder
from tunesmith.errors import UserError
from tunesmith.jobs.job_worker import Cancelled
from tunesmith.jobs.work.uploaded_models import take_model
from tunesmith.models.hub_files import is_wanted
from tunesmith.models.safety import check_model_folder
from tunesmith.store.files import write_json
from tunesmith.store.uploads import new_upload
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.system.progress import silent

__all__ = ["folder"]
GB = 1_000_000_000
LARGE_BYTES = 40_000_000  # sparse files of this size take long to pack


def hold(data_dir: Path, put: Callable[[Path], object]) -> Path:
    with new_upload(data_dir) as held:
        put(held)
    return held


def take(data_dir: Path, held: Path, most_bytes: int = GB, report: Any = silent) -> Path:
    target = data_dir / "models" / "theirs"
    request = {
        "path": str(held), "target_path": str(target), "data_dir": str(data_dir), "most_bytes": most_bytes, "lineage": {"upload": {}},
    }  # fmt: skip
    assert take_model(request, report) == {"model": "theirs", "path": str(target)}
    return target


def refused(data_dir: Path, held: Path, **options: Any) -> UserError:
    """Return why it is not taken; nothing of it is left, neither in its place nor beside it."""
    with pytest.raises(UserError) as error:
        take(data_dir, held, **options)
    assert not held.exists()
    assert not [*(data_dir / "models").rglob("*")]
    return error.value


def files_of(model: Path) -> list[Path]:
    return [path for path in sorted(model.iterdir()) if stat.S_ISREG(path.lstat().st_mode)]


def as_files(model: Path) -> Callable[[Path], object]:
    """Put the files as the form does, which takes none that no model needs."""
    return lambda held: [shutil.copyfile(path, held / path.name) for path in files_of(model) if is_wanted(path.name)]


def as_zip(model: Path, inside: str = "a/") -> Callable[[Path], object]:
    def put(held: Path) -> None:
        with zipfile.ZipFile(held / "model.ZIP", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for path in files_of(model):
                archive.write(path, inside + path.name)

    return put


@pytest.mark.parametrize("inside", [None, "", "tiny/", "a/b/"])
def test_an_honest_model_is_taken_in_without_what_it_does_not_need(data_dir: Path, tmp_path: Path, inside: str | None) -> None:
    source = shutil.copytree(DEMO_MODEL, tmp_path / "source")
    (source / "evil.py").write_text("1/0")
    (source / "pytorch_model.bin").write_bytes(b"\x80")
    told: list[tuple[str, float]] = []
    put = as_files(source) if inside is None else as_zip(source, inside)
    model = take(data_dir, hold(data_dir, put), report=lambda phase, share: told.append((phase, share)))
    assert check_model_folder(model)["model_type"] == "qwen3"
    assert {path.name for path in model.iterdir()} == {path.name for path in DEMO_MODEL.iterdir()} | {"tunesmith.json"}
    assert (model / "model.safetensors").read_bytes() == (DEMO_MODEL / "model.safetensors").read_bytes()
    assert list((data_dir / "uploads").iterdir()) == []
    unpacked = [share for phase, share in told if phase == "unpacking"]
    assert unpacked == sorted(unpacked)
    assert (0.9 < unpacked[-1] <= 1) if inside is not None else not unpacked


@pytest.mark.parametrize("way", [as_files, as_zip])
def test_no_hostile_folder_comes_in_by_an_upload(data_dir: Path, folder: Path, way: Callable[[Path], Callable[[Path], object]]) -> None:
    clean, codes = shutil.copytree(folder, folder.with_name("clean"), symlinks=True), []
    for change, code in HOSTILE.values():
        shutil.rmtree(folder)
        shutil.copytree(clean, folder)
        change(folder)
        if not folder.is_dir() or any(path.stat().st_size > LARGE_BYTES for path in files_of(folder)):
            continue
        held = hold(data_dir, way(folder))
        try:
            model = take(data_dir, held)
        except UserError as error:
            codes.append((code, error.code))
            assert not [*(data_dir / "models").rglob("*")]
        else:  # what made it hostile is nothing that a form brings: links, pipes, files that no model needs
            check_model_folder(model)
            assert all(is_wanted(path.name) or path.name == "tunesmith.json" for path in model.iterdir())
            shutil.rmtree(model)
        assert not held.exists()
        assert not (folder.parent / "canary").exists()
    assert len(codes) > 100
    assert sum(expected == found for expected, found in codes) > 95


def test_no_zip_file_that_lies_comes_in(data_dir: Path) -> None:
    lies = zip_names() | zip_lies()
    for name, content in lies.items():
        data = content() if callable(content) else content
        error = refused(data_dir, hold(data_dir, lambda held, data=data: (held / "a.zip").write_bytes(data)))  # type: ignore[misc]
        assert error.code.startswith(("archive_", "data_", "model_")), name
    assert len(lies) > 25


def test_a_zip_file_of_several_or_none_or_too_much_is_refused(data_dir: Path, folder: Path) -> None:
    def two(held: Path) -> None:
        with zipfile.ZipFile(held / "two.zip", "w") as archive:
            for place in ("a", "b"):
                write_json(folder / "config.json", CONFIG)
                archive.write(folder / "config.json", f"{place}/config.json")

    assert refused(data_dir, hold(data_dir, two)).code == "model_several_in_zip"
    assert refused(data_dir, hold(data_dir, as_zip(folder)), most_bytes=100).code == "data_too_large"
    (folder / "config.json").unlink()
    assert refused(data_dir, hold(data_dir, as_zip(folder))).code == "model_config_missing"


def test_a_cancelled_one_leaves_nothing(data_dir: Path) -> None:
    def report(phase: str, share: float) -> None:
        if phase == "unpacking" and share > 0.5:
            assert next(path.name for path in (data_dir / "models").iterdir()).startswith(".")  # no list shows it yet
            raise Cancelled

    held = hold(data_dir, as_zip(DEMO_MODEL))
    with pytest.raises(Cancelled):
        take(data_dir, held, report=report)
    assert not held.exists()
    assert not [*(data_dir / "models").iterdir()]


def test_a_bomb_is_not_unpacked(data_dir: Path, folder: Path) -> None:
    with (folder / "model.safetensors").open("wb") as weights:
        weights.truncate(30_000_000)
    assert refused(data_dir, hold(data_dir, as_zip(folder))).code == "archive_ratio_not_plausible"


def test_a_kind_of_tomorrow_is_refused_before_its_weights_are_unpacked(data_dir: Path, folder: Path) -> None:
    write_json(folder / "config.json", CONFIG | {"model_type": "of_tomorrow"})
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 4000)
    told: list[float] = []
    error = refused(data_dir, hold(data_dir, as_zip(folder)), report=lambda phase, share: told.append(share if phase == "unpacking" else 0))
    assert error.code == "model_type_unsupported"
    assert max(told) < 0.1
