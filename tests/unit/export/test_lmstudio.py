"""Models in LM Studio's folders: found where its files say, put there whole or not at all, and nothing of others touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tunesmith.errors import UserError
from tunesmith.export import lmstudio
from tunesmith.export.lmstudio import MARKER, copy_to_lmstudio, find_models_folder, remove_from_lmstudio
from tunesmith.system.memory import disk_free_bytes


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"):
        (folder / name).write_bytes(name.encode() * 1000)
    (folder / "linked.safetensors").symlink_to(folder / "model.safetensors")
    for name in ("modeling.py", ".hidden.json", "old.bin"):
        (folder / name).write_bytes(b"no")
    (folder / "sub").mkdir()
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def refusal(act: Callable[[], object]) -> UserError:
    with pytest.raises(UserError) as refused:
        act()
    return refused.value


def test_the_folder_is_where_lm_studio_says(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert refusal(lambda: find_models_folder(home=home)).code == "lmstudio_not_found"
    (home / ".cache/lm-studio").mkdir(parents=True)
    assert find_models_folder(home=home) == home / ".cache/lm-studio/models"
    (home / ".lmstudio").mkdir()
    assert find_models_folder(home=home) == home / ".lmstudio/models"
    other = tmp_path / "moved"
    other.mkdir()
    (home / ".lmstudio-home-pointer").write_text(f"{other}\n", encoding="utf-8")
    assert find_models_folder(home=home) == other / "models"
    (other / "settings.json").write_text(json.dumps({"downloadsFolder": str(tmp_path)}), encoding="utf-8")
    assert find_models_folder(home=home) == tmp_path
    (other / "settings.json").write_text("{broken", encoding="utf-8")
    assert find_models_folder(home=home) == other / "models"
    (home / ".lmstudio-home-pointer").write_text(str(tmp_path / "gone"), encoding="utf-8")
    assert find_models_folder(home=home) == home / ".lmstudio/models"
    assert find_models_folder(other, home) == other
    assert refusal(lambda: find_models_folder(tmp_path / "none")).code == "lmstudio_folder_missing"


def test_a_model_folder_is_copied_without_code(model: Path, models: Path) -> None:
    told: list[float] = []
    place = copy_to_lmstudio(model, models, "me", "Tiny-1", lambda _, share: told.append(share))
    assert place == models / "me" / "Tiny-1"
    shared = {"model.safetensors", "linked.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"}
    assert {path.name for path in place.iterdir()} == shared | {MARKER}
    assert all((place / name).read_bytes() == (model / name).read_bytes() for name in shared)
    assert not any(path.is_symlink() for path in place.iterdir())
    assert told == sorted(told)
    assert len(told) == len(shared) + 1
    assert told[-1] == 1.0
    assert [path.name for path in place.parent.iterdir()] == ["Tiny-1"]


def test_a_gguf_file_is_copied_and_replaced_by_wish_and_removed(tmp_path: Path, models: Path) -> None:
    gguf = tmp_path / "tiny-q8_0.gguf"
    gguf.write_bytes(b"GGUF" + b"1" * 100)
    place = copy_to_lmstudio(gguf, models, "me", "tiny")
    other = tmp_path / "tiny-f16.gguf"
    other.write_bytes(b"GGUF" + b"2" * 100)
    assert refusal(lambda: copy_to_lmstudio(other, models, "me", "tiny")).code == "target_exists"
    copy_to_lmstudio(other, models, "me", "tiny", replace=True)
    assert sorted(path.name for path in place.iterdir()) == [MARKER, "tiny-f16.gguf"]
    (models / "me" / "theirs").mkdir()
    remove_from_lmstudio(models, "me", "tiny")
    assert [path.name for path in (models / "me").iterdir()] == ["theirs"]
    remove_from_lmstudio(models, "me", "tiny")


def test_an_empty_publisher_goes_with_its_last_model(model: Path, models: Path) -> None:
    copy_to_lmstudio(model, models, "me", "tiny")
    remove_from_lmstudio(models, "me", "tiny")
    assert not any(models.iterdir())


@pytest.mark.parametrize("marker", [None, "{", "[]", '{"files": 3}'])
def test_what_others_put_there_is_left_alone(model: Path, models: Path, marker: str | None) -> None:
    theirs = models / "me" / "tiny"
    theirs.mkdir(parents=True)
    (theirs / "model.gguf").write_bytes(b"theirs")
    if marker:
        (theirs / MARKER).write_text(marker, encoding="utf-8")
    assert refusal(lambda: copy_to_lmstudio(model, models, "me", "tiny", replace=True)).code == "lmstudio_not_ours"
    assert refusal(lambda: remove_from_lmstudio(models, "me", "tiny")).code == "lmstudio_not_ours"
    assert (theirs / "model.gguf").read_bytes() == b"theirs"


def test_what_was_added_to_ours_is_left_alone(model: Path, models: Path) -> None:
    place = copy_to_lmstudio(model, models, "me", "tiny")
    (place / "theirs.gguf").write_bytes(b"theirs")
    for act in (lambda: copy_to_lmstudio(model, models, "me", "tiny", replace=True), lambda: remove_from_lmstudio(models, "me", "tiny")):
        found = refusal(act)
        assert (found.code, found.facts["files"]) == ("lmstudio_holds_more", "theirs.gguf")
    assert (place / "theirs.gguf").read_bytes() == b"theirs"
    assert (place / "config.json").exists()


@pytest.mark.parametrize(("publisher", "name"), [("..", "x"), ("me", "../x"), ("a/b", "x"), ("me", ".x"), ("", "x")])
def test_names_lead_nowhere_else(model: Path, models: Path, publisher: str, name: str) -> None:
    assert refusal(lambda: copy_to_lmstudio(model, models, publisher, name)).code == "name_not_allowed"


def test_a_folder_without_a_model_is_refused(models: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "none"):
        assert refusal(lambda source=source: copy_to_lmstudio(source, models, "me", "tiny")).code == "nothing_to_share"  # type: ignore[misc]


def test_too_little_room_is_told_before_anything_is_written(tmp_path: Path, models: Path) -> None:
    sparse = tmp_path / "huge.gguf"
    with sparse.open("wb") as stream:
        stream.truncate(disk_free_bytes(tmp_path) + 1)  # takes no room itself
    assert refusal(lambda: copy_to_lmstudio(sparse, models, "me", "huge")).code == "disk_nearly_full"
    assert not any(models.iterdir())


def test_a_copy_that_is_broken_off_leaves_the_old_one(model: Path, models: Path) -> None:
    place = copy_to_lmstudio(model, models, "me", "tiny")
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    (model / "config.json").write_text("new", encoding="utf-8")

    def stop(_: str, share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_to_lmstudio(model, models, "me", "tiny", stop, replace=True)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    assert [path.name for path in place.parent.iterdir()] == ["tiny"]


def test_an_old_model_comes_back_when_the_new_one_cannot_take_its_place(model: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = copy_to_lmstudio(model, models, "me", "tiny")
    rename = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise PermissionError(13, "no")
        return rename(self, target)

    monkeypatch.setattr(lmstudio.Path, "rename", refuse_new)
    assert refusal(lambda: copy_to_lmstudio(model, models, "me", "tiny", replace=True)).code == "no_permission"
    assert (place / "config.json").exists()
    assert [path.name for path in place.parent.iterdir()] == ["tiny"]
