"""Every place where a path is typed understands it as it is pasted, and refuses one of another computer by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.idle_services import idle_services
from tunesmith.cli import app
from tunesmith.cli_output import as_id
from tunesmith.errors import UserError
from tunesmith.services import adapters, attachments, benchmarks, system
from tunesmith.services.context import Services
from tunesmith.services.datasets import find_dataset
from tunesmith.services.models import list_models
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL, DEMO_TASKS

WINDOWS = "C:\\Users\\ada\\x"


@pytest.fixture
def services() -> Iterator[Services]:
    with idle_services() as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my folder"
    made.mkdir()
    return made


def test_a_data_set(services: Services, folder: Path) -> None:
    rows = folder / "rows.jsonl"
    shutil.copy(DEMO_DATA / "company_facts" / "train.jsonl", rows)
    for text in (f'"{rows}"', f" {rows}\n", rows.as_uri()):
        assert find_dataset(services, text).path == rows
        assert as_id(text) == str(rows)


def test_folders_of_the_settings_are_kept_plain(services: Services, folder: Path) -> None:
    shutil.copytree(DEMO_MODEL, folder / "copied")
    saved = system.save_settings(services, model_folders=[f'"{folder}" '], exports_folder=f"'{folder}'", lmstudio_folder=folder.as_uri())
    assert (saved.model_folders, saved.exports_folder, saved.lmstudio_folder) == ((str(folder),), str(folder), str(folder))
    assert "copied" in [model.id for model in list_models(services)]


def test_a_task_and_an_adapter(services: Services, folder: Path) -> None:
    shutil.copytree(DEMO_TASKS, folder / "tasks")
    task = sorted((folder / "tasks").glob("*.yaml"))[0]
    assert benchmarks.find_tasks(services, [f'"{task}"']) == ([task.resolve()], [])
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    assert attachments.find_adapter(services, f'"{folder}"') == folder


REFUSALS: dict[str, Callable[[Services], object]] = {
    "data set": lambda s: find_dataset(s, WINDOWS), "adapter": lambda s: attachments.find_adapter(s, WINDOWS),
    "task": lambda s: benchmarks.find_tasks(s, [WINDOWS]), "model folders": lambda s: system.save_settings(s, model_folders=[WINDOWS]),
    "exports folder": lambda s: system.save_settings(s, exports_folder=WINDOWS),
    "data folder": lambda s: system.save_settings(s, data_folder=WINDOWS), "command line": lambda _: as_id(WINDOWS),
    "adapter to bring": lambda s: adapters.start_import(s, WINDOWS, "x", "demo"),
}  # fmt: skip


@pytest.mark.parametrize("place", REFUSALS)
def test_a_path_of_windows_is_named_as_such(services: Services, place: str) -> None:
    with pytest.raises(UserError) as caught:
        REFUSALS[place](services)
    assert caught.value.code == "path_of_windows"


def test_the_command_line_takes_an_address_of_a_file(tmp_path: Path) -> None:
    rows = tmp_path / "my rows.jsonl"
    shutil.copy(DEMO_DATA / "company_facts" / "train.jsonl", rows)
    told = CliRunner().invoke(app, ["data", "inspect", rows.as_uri()])
    assert told.exit_code == 0, told.output
    assert "rows" in told.output
