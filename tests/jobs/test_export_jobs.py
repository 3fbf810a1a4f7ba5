"""Exports as jobs: real workers, the shipped model, an adapter with drawn factors; each leaves all or nothing and can be found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adapters import add_adapter, write_adapter_files
from tests.jobs.conftest import done
from tests.jobs.test_cli import run_cli
from tunesmith.errors import UserError
from tunesmith.export.config import GgufRules, OllamaRules
from tunesmith.fusion.config import FusionRules
from tunesmith.jobs.job import Job
from tunesmith.services import adapters, exports, fusion, jobs, ollama, uploads
from tunesmith.services.context import Services
from tunesmith.system.paths import DEMO_MODEL

Finish = Callable[[str], Job]


def put_made(services: Services, name: str) -> exports.Made:
    """Put a model there as if it had been made."""
    folder = exports.exports_folder(services) / name
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes((DEMO_MODEL / "model.safetensors").read_bytes())
    (folder / "config.json").write_bytes((DEMO_MODEL / "config.json").read_bytes())
    (folder / "tunesmith.json").write_text('{"format": "model"}')
    return exports.find_made(services, name)


@pytest.fixture
def source(services: Services) -> exports.Source:
    return exports.find_source(services, add_adapter(services.data_dir, "one", seed=5).id)


def test_gguf_with_the_adapter_in_it(services: Services, source: exports.Source, finish: Finish) -> None:
    result = done(finish(exports.start_gguf(services, source, "My model", GgufRules("F16"))))
    proof = result["proof"]
    assert proof["checks"]["stored"]
    assert proof["verified"] == bool(proof["engine"])
    made = exports.find_made(services, "my-model")
    assert [file.name for file in made.files] == ["my-model-F16.gguf"]
    assert made.manifest["adapter"] == source.adapter.id if source.adapter else False
    text = ollama.modelfile_of(made, OllamaRules(system="Be short."))
    assert "FROM ./my-model-F16.gguf" in text
    assert "<|im_start|>" in text
    with pytest.raises(UserError, match="target_exists"):
        exports.start_gguf(services, source, "My model", GgufRules("F16"))


def test_an_adapter_as_a_gguf_file_of_its_own(services: Services, source: exports.Source, finish: Finish) -> None:
    result = done(finish(exports.start_gguf_lora(services, source, "lora")))
    assert result["proof"]["checks"]["stored"]
    with pytest.raises(UserError, match="gguf_missing"):
        exports.gguf_of(exports.find_made(services, "lora"))


def test_to_peft_and_back(services: Services, source: exports.Source, finish: Finish) -> None:
    result = done(finish(exports.start_peft(services, source, "as peft")))
    assert result["proof"]["verified"]
    again = done(finish(adapters.start_import(services, Path(result["path"]), "back again", "demo")))
    info = adapters.find_adapter(services, again["adapter"])
    assert source.adapter
    assert (info.origin, info.rank, set(info.keys)) == ("imported", source.adapter.rank, set(source.adapter.keys))


def test_what_cannot_be_imported_leaves_nothing(services: Services, tmp_path: Path, finish: Finish) -> None:
    folder = write_adapter_files(tmp_path / "foreign")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"lora_parameters": {"rank": 4, "scale": "large"}}))
    job = finish(adapters.start_import(services, folder, "foreign", "demo"))
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code.startswith("adapter")
    assert adapters.list_adapters(services) == []


def test_lmstudio_gets_a_copy(services: Services, tmp_path: Path, finish: Finish) -> None:
    made = put_made(services, "fused")
    (tmp_path / "lmstudio").mkdir()
    services.kept.settings = type(services.settings)(lmstudio_folder=str(tmp_path / "lmstudio"))
    result = done(finish(exports.start_lmstudio(services, made, "me")))
    assert Path(result["path"]) == tmp_path / "lmstudio/me/fused"
    assert (tmp_path / "lmstudio/me/fused/model.safetensors").is_file()


def test_without_a_token_nothing_is_uploaded(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HOME", "/nowhere")
    with pytest.raises(UserError, match="hub_token_missing"):
        exports.start_upload(services, put_made(services, "secret"), "me/secret", private=True)


def test_what_was_made_can_be_deleted(services: Services) -> None:
    exports.delete(services, put_made(services, "gone"))
    assert exports.list_made(services) == []
    with pytest.raises(UserError, match="export_unknown"):
        exports.find_made(services, "gone")


def test_what_cannot_be_meant_is_refused_before_any_work(services: Services, tmp_path: Path, source: exports.Source) -> None:
    """Slips of a terminal: none of them may make something else than what was asked for."""
    assert source.adapter
    with pytest.raises(UserError, match="fusion_same_twice"):
        fusion.check(services, [source.adapter.id] * 2, FusionRules(weights=(0.5, 0.5)))
    other = add_adapter(services.data_dir, "two", seed=6).id
    with pytest.raises(UserError, match="setting_choice"):
        fusion.start_fusion(services, [source.adapter.id, other], FusionRules(weights=(0.5, 0.5)), "nothing", "x")
    with pytest.raises(UserError, match="setting_choice"):
        exports.start_fused(services, source, "x", "float12")
    with pytest.raises(UserError, match="export_source_unknown"):
        exports.find_source(services, "nope")
    assert jobs.list_jobs(services) == []
    put_made(services, "facts-q8_0")
    assert exports.find_made(services, "facts-Q8_0").name == "facts-q8_0"
    for arguments in (("--weights", "a,b"), ("--rules", str(tmp_path / "none.yaml"))):
        refused = run_cli("fuse", source.adapter.id, other, "--name", "x", *arguments)
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr


def test_an_uploaded_file_is_taken_away(services: Services, tmp_path: Path, finish: Finish) -> None:
    folder = write_adapter_files(tmp_path / "foreign")
    packed = shutil.make_archive(str(tmp_path / "foreign"), "zip", folder)
    with Path(packed).open("rb") as content:
        kept = uploads.hold(services, [("My adapter 🎉", content)])
    result = done(finish(adapters.start_import(services, kept, "My adapter 🎉", "demo", uploaded=True)))
    assert adapters.find_adapter(services, result["adapter"]).name == "My adapter 🎉"
    assert list((services.data_dir / "uploads").iterdir()) == []


def test_the_command_line_lists_fuses_and_exports(services: Services) -> None:
    """Works beside an open app."""
    ids = [add_adapter(services.data_dir, f"adapter {n}", seed=n).id for n in (1, 2)]
    listed = json.loads(run_cli("adapters", "list", "--json").stdout)
    assert {each["id"] for each in listed} == set(ids)
    fused = json.loads(run_cli("fuse", *ids, "--name", "both", "--weights", "0.5,0.5", "--json").stdout)
    assert fused["result"]["likeness"]["kl"] < 1e-6
    refused = run_cli("export", "peft", "demo", "--name", "x")
    assert refused.returncode == 2
    assert "has no adapter" in refused.stderr
    made = json.loads(run_cli("export", "peft", "both", "--name", "both for peft", "--json").stdout)
    assert made["result"]["proof"]["verified"]
    (only,) = json.loads(run_cli("export", "list", "--json").stdout)
    assert (only["name"], only["verified"]) == ("both-for-peft", True)
    assert run_cli("adapters", "delete", "both").returncode == 0
    assert {each["id"] for each in json.loads(run_cli("adapters", "list", "--json").stdout)} == set(ids)
