"""What is known of a run beside its curves: environment, files, what was made of it; and doing it again as it was."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import orjson
import pytest

from tests.ended_runs import add_ended_run
from tunesmith.data.content import hash_data
from tunesmith.errors import UserError
from tunesmith.jobs import run_environment
from tunesmith.jobs.run_environment import read_attempts, record_environment
from tunesmith.services import run_facts, runs, training
from tunesmith.services.context import Services
from tunesmith.services.datasets import find_dataset
from tunesmith.services.run_settings import compare_settings
from tunesmith.store.experiments import Experiment
from tunesmith.system.environment import source_commit
from tunesmith.system.paths import DEMO_DATA


def record(services: Services, run: Experiment, attempt: int = 1) -> None:
    record_environment(services.store.folder(run.id), dataclasses.asdict(run) | {"attempt": attempt}, "openblas")


def test_the_environment_is_written_once_for_each_attempt(services: Services) -> None:
    run = add_ended_run(services)
    assert run_facts.environment_of(services, run.id) == []
    for attempt in (1, 2, 2):
        record(services, run, attempt)
    first, second = run_facts.environment_of(services, run.id)
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert first["config_sha256"] == run.config_sha256
    assert first["data_hash"] == hash_data(DEMO_DATA / "company_facts") != ""
    assert first["versions"]["mlx-lm"].startswith("0.32")
    values = {line.name: line.values for line in compare_settings(services, [run.id]) if line.section != "settings"}
    assert values["hash"] == (first["data_hash"],)
    assert values["versions.mlx"] == (first["versions"]["mlx"],)
    assert "at" not in values


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"attempts": 3}', b'{"attempts": [1, null]}', b"\xff"])
def test_a_broken_environment_is_none(services: Services, content: bytes) -> None:
    folder = services.store.folder(add_ended_run(services).id)
    folder.environment.write_bytes(content)
    assert read_attempts(folder) == []


def test_a_commit_is_read_from_a_checkout(tmp_path: Path) -> None:
    assert source_commit(tmp_path) == ""
    git = tmp_path / ".git"
    (git / "refs/heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "packed-refs").write_text("# pack-refs\nabc123 refs/heads/main\n")
    assert source_commit(tmp_path) == "abc123"
    (git / "refs/heads/main").write_text("def456\n")
    assert source_commit(tmp_path) == "def456"
    (git / "HEAD").write_text("0123cafe\n")
    assert source_commit(tmp_path) == "0123cafe"


def test_the_hash_of_data_follows_its_content(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    assert hash_data(folder) == hash_data(tmp_path / "none") == ""
    (folder / "train.jsonl").write_text('{"text": "a"}\n')
    one = hash_data(folder)
    (folder / "train.jsonl").write_text('{"text": "b", "more": 1}\n')
    assert hash_data(folder) != one != ""
    shutil.copytree(folder, tmp_path / "copy")
    assert hash_data(tmp_path / "copy") == hash_data(folder)
    (folder / "version.json").write_text('{"sha256_out": {"train": "aa"}}')
    assert hash_data(folder) != hash_data(tmp_path / "copy"), "a version is what it was recorded to be"


def codes(services: Services, run: Experiment) -> list[str]:
    return [change.code for change in run_facts.changes_since(services, run.id)]


def test_what_changed_since_is_told(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Path(shutil.copytree(DEMO_DATA / "company_facts", tmp_path / "rows"))
    run = services.store.change(add_ended_run(services), data=str(rows), data_path=str(rows))
    assert codes(services, run) == ["rerun_not_recorded"]
    record(services, run)
    assert codes(services, run) == []
    with (rows / "train.jsonl").open("a") as file:
        file.write('{"text": "one more"}\n')
    assert codes(services, run) == ["rerun_data_changed"]
    monkeypatch.setattr(run_environment, "package_versions", lambda: {"mlx": "0.1", "mlx-lm": "", "streamlit": "0.1"})
    monkeypatch.setattr(run_environment, "device_name", lambda: "abacus")
    record(services, run)
    assert codes(services, run) == ["rerun_version_changed", "rerun_version_changed", "rerun_device_changed"], "Streamlit trains nothing"


def test_a_run_is_done_again_as_it_was(services: Services) -> None:
    """Settings, seed, reward files and begin are the run's own, not today's."""
    run = add_ended_run(services, "original", resume_adapter_file="20260101-000000-abcdef")
    folder = services.store.folder(run.id)
    for part in (folder.rewards, folder.begin):
        part.mkdir()
    (folder.rewards / "mine.py").write_text("as it was")
    (folder.begin / "adapters.safetensors").write_bytes(b"begin")
    again = run_facts.rerun(services, run.id)
    new, other = services.store.get(again), services.store.folder(again)
    assert (new.status, new.name, new.data, new.method) == ("queued", "original", run.data, run.method)
    assert runs.snapshot(services, again).config == runs.snapshot(services, run.id).config
    assert (other.rewards / "mine.py").read_text() == "as it was"
    assert (other.begin / "adapters.safetensors").read_bytes() == b"begin"


def test_what_a_run_went_on_from_must_be_there(services: Services) -> None:
    parent = add_ended_run(services, "parent")
    child = services.store.change(add_ended_run(services, "child"), continued_from=parent.id)
    with pytest.raises(UserError, match="run_not_repeatable"):
        run_facts.rerun(services, child.id)
    state = services.store.folder(parent.id).checkpoint(4)
    state.mkdir(parents=True)
    (state / "MANIFEST.json").write_text("{}")
    again = services.store.get(run_facts.rerun(services, child.id))
    assert again.continued_from == parent.id
    assert services.store.folder(again.id).newest_checkpoint_step() == 4
    lost = add_ended_run(services, "lost", resume_adapter_file="20260101-000000-abcdef")
    with pytest.raises(UserError, match="run_not_repeatable"):
        run_facts.rerun(services, lost.id)
    assert len(services.store.all()[0]) == 4


def test_a_version_of_data_stays_pinned(services: Services) -> None:
    run = add_ended_run(services)
    assert training.parse_config(runs.config_yaml(services, run.id)).data == find_dataset(services, run.data).pinned_id


def test_files_are_told_as_they_lie(services: Services) -> None:
    run = add_ended_run(services)
    folder = services.store.folder(run.id)
    (folder.path / ".half.tmp").write_text("x")
    (folder.path / "link").symlink_to("/etc/passwd")
    found = {file.name: file for file in run_facts.files_of(services, run.id)}
    assert "adapter/adapters.safetensors" in found
    assert not {".half.tmp", "link"} & set(found)
    assert found["log.txt"].size_bytes == folder.log.stat().st_size
    assert (found["log.txt"].part, found["adapter/MANIFEST.json"].part) == ("", "adapter")


def test_uses_name_evaluations_and_exports(services: Services, data_dir: Path) -> None:
    run, other = add_ended_run(services, "used"), add_ended_run(services, "other")
    assert run_facts.uses_of(services, run.id) == run_facts.Uses((), ())
    keys_of = {
        "evaluate": [f"adapter:{run.id}@0.5"],
        "judge": [f"checkpoint:{run.id}/4"],
        "benchmark": [f"adapter:{other.id}", "model:demo"],
    }
    for number, (kind, keys) in enumerate(keys_of.items()):
        folder = data_dir / "evaluations" / f"e{number}"
        folder.mkdir(parents=True)
        request = {"kind": kind, "name": f"number {number}", "created_at": 1.0, "variants": [{"key": key} for key in keys]}
        (folder / "request.json").write_bytes(orjson.dumps(request))
    export = data_dir / "exports" / "mine"
    export.mkdir(parents=True)
    (export / "tunesmith.json").write_bytes(orjson.dumps({"v": 1, "run": run.id, "format": "peft", "made_at": 1.0}))
    uses = run_facts.uses_of(services, run.id)
    assert sorted(uses.evaluations) == [("evaluate", "e0", "number 0"), ("judge", "e1", "number 1")]
    assert uses.exports == ("mine",)
