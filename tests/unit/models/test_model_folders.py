"""Hostile and broken model folders are refused by name before anything is loaded."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import UserError
from tunesmith.models.discovery import inspect_model, list_models
from tunesmith.models.safety import check_model_folder
from tunesmith.system.paths import DEMO_MODEL

Change = Callable[[Path], Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO_MODEL, tmp_path / "a-model"))


def with_config(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps(config))

    return change


def with_header(header: bytes, length: int | None = None) -> Change:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header) if length is None else length) + header)

    return change


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda f: (f / "config.json").unlink(), "model_config_missing"),
        (lambda f: (f / "config.json").write_text("{"), "model_config_broken"),
        (lambda f: (f / "config.json").write_text("[1]"), "model_config_broken"),
        (lambda f: (f / "config.json").write_text(" " * 2_000_001), "model_config_broken"),
        (with_config(model_file="evil.py"), "model_runs_code"),
        (with_config(auto_map={"AutoModel": "evil.Model"}), "model_runs_code"),
        (with_config(num_hidden_layers=2_000_000), "model_config_unbounded"),
        (with_config(hidden_size=-1), "model_config_unbounded"),
        (with_config(vocab_size="many"), "model_config_unbounded"),
        (with_config(text_config={"num_hidden_layers": 10**9}), "model_config_unbounded"),
        (lambda f: (f / "model.safetensors").unlink(), "model_weights_missing"),
        (pickled, "model_weights_pickled"),
        (with_header(b"{}", length=2**62), "model_weights_broken"),
        (with_header(b"not json"), "model_weights_broken"),
        (with_header(b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'), "model_weights_broken"),
        (lambda f: (f / "tokenizer.json").unlink(), "model_tokenizer_missing"),
    ],
)
def test_a_bad_folder_is_refused_by_name(folder: Path, change: Change, code: str) -> None:
    change(folder)
    with pytest.raises(UserError) as caught:
        check_model_folder(folder)
    assert caught.value.code == code
    assert "a-model" in str(caught.value.facts["folder"])
    problem = inspect_model(folder).problem
    assert problem is not None
    assert problem.code == code


def test_a_file_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        check_model_folder(tmp_path / "nothing")
    assert caught.value.code == "model_not_a_folder"


def test_the_shipped_model_is_what_its_card_says() -> None:
    model = inspect_model(DEMO_MODEL)
    assert model.problem is None
    assert (model.model_type, model.hidden_size, model.num_layers) == ("qwen3", 256, 4)
    assert 1_500_000 < model.parameters < 3_000_000
    assert sum(f.stat().st_size for f in DEMO_MODEL.iterdir()) < 8_000_000


def test_models_are_found_in_folders_and_equal_names_told_apart(tmp_path: Path) -> None:
    for parent in ("one", "two"):
        shutil.copytree(DEMO_MODEL, tmp_path / parent / "pip")
    (tmp_path / "two" / "broken").mkdir()
    (tmp_path / "two" / "broken" / "config.json").write_text("{")
    found = list_models([str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "absent")])
    assert [(m.id, m.problem is None) for m in found] == [("one/pip", True), ("broken", False), ("two/pip", True)]


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, place: Path) -> None:
    """Let a function of paths fail at a place and in it, as for another account's files (the tests may run as root)."""
    real = getattr(Path, name)

    def denied(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.is_relative_to(place):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, name, denied)


@pytest.mark.parametrize("name", ["stat", "exists"])
def test_a_folder_that_may_not_be_looked_into_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    shutil.copytree(DEMO_MODEL, tmp_path / "disk" / "pip")
    (tmp_path / "disk" / "lost+found").mkdir()
    (tmp_path / "closed").mkdir()
    refuse(monkeypatch, name, tmp_path / "disk" / "lost+found" / "config.json")
    refuse(monkeypatch, name, tmp_path / "closed")
    found = list_models([str(tmp_path / "closed" / "models"), str(tmp_path / "disk")])
    assert [(m.id, m.problem) for m in found] == [("pip", None)]


@pytest.mark.parametrize(("name", "file"), [("read_bytes", "config.json"), ("iterdir", "")])
def test_a_model_that_may_not_be_read_is_listed_with_its_problem(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str
) -> None:
    shutil.copytree(DEMO_MODEL, folder.parent / "pip")
    refuse(monkeypatch, name, folder / file)
    found = {m.id: m.problem for m in list_models([str(folder.parent)])}
    assert found.pop("pip") is None
    assert [(problem.code, problem.facts) for problem in found.values() if problem] == [
        ("model_not_readable", {"folder": "a-model", "reason": "Permission denied"})
    ]
