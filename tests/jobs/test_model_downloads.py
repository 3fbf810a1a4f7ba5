"""Downloads of models as jobs: real workers against a hub on loopback that serves the shipped model's real files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from tests.adapters import write_adapter_files
from tests.hub_models import WEIGHTS, demo_repository, hub
from tests.idle_services import stop_supervising
from tests.jobs.conftest import done, wait_for
from tests.loopback_hub import COMMIT, LoopbackHub
from tunesmith.access.people import TRAINER, VIEWER, Person
from tunesmith.cli import app
from tunesmith.errors import UserError
from tunesmith.export.config import ArrivalRules
from tunesmith.jobs.job import Job
from tunesmith.models.safety import check_model_folder
from tunesmith.services import exports, jobs, model_hub, model_library, models, rights
from tunesmith.services.context import Services
from tunesmith.services.variants import list_variants
from tunesmith.store.adapters import AdapterStore
from tunesmith.store.files import write_json
from tunesmith.system import memory
from tunesmith.system.paths import DEMO_MODEL

__all__ = ["hub"]
AS_IS = ArrivalRules()
Finish = Callable[[str], Job]


def start(s: Services, rules: ArrivalRules = AS_IS, name: str = "team/tiny") -> str:
    return model_hub.start_download(s, model_hub.describe(s, name), rules)


def part_of(s: Services, job_id: str) -> Path:
    return jobs.find_job(s, job_id).folder / "arriving" / "team--tiny" / "model.safetensors.part"


def wait_for_the_first_piece(s: Services, job_id: str) -> None:
    wait_for(lambda: part_of(s, job_id).exists() and part_of(s, job_id).stat().st_size >= 1 << 20)


def gets_of_weights(hub: LoopbackHub) -> int:
    return sum(method == "GET" and path.endswith(".safetensors") for method, path, _ in hub.asked)


def test_a_model_comes_whole_and_is_ready(services: Services, hub: LoopbackHub, finish: Finish) -> None:
    ada = services.of(Person("Ada", TRAINER))
    hub.models["team/tiny"] = demo_repository({"evil.py": b"1", "pytorch_model.bin": b"\x80", "../up.safetensors": b"x"})
    hub.drops = [2_000_000]
    job_id = start(ada)
    with pytest.raises(UserError, match="download_running"):
        start(ada)
    result = done(finish(job_id))
    assert [wanted for _, wanted in hub.ranges] == ["bytes=1048576-"]
    model = models.find_model(services, "team--tiny")
    assert result["path"] == str(model.path)
    assert (model.parameters, model.dtype) == (2_493_184, "F16")
    assert (model.path / "model.safetensors").read_bytes() == WEIGHTS
    assert {path.name for path in model.path.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md", "LICENSE",
        "tunesmith.json",
    }  # fmt: skip
    assert not (jobs.find_job(services, job_id).folder / "arriving").exists()
    origin = model_library.origin_of(services, model)
    assert origin == model_library.Origin("hub", "team/tiny", COMMIT, f"{hub.address}/team/tiny", "cc0-1.0", "Ada")
    assert exports.list_made(services) == []  # nothing was made
    assert "model:team--tiny" in [variant.key for variant in list_variants(services)]
    assert [line["action"] for line in rights.audit(services)] == ["model_hub.start_download"]
    with pytest.raises(UserError, match="model_downloaded_already"):
        start(ada)


def test_a_download_that_was_killed_or_cancelled_goes_on_with_the_rest(services: Services, hub: LoopbackHub, finish: Finish) -> None:
    hub.silent.set()
    job_id = start(services)
    wait_for_the_first_piece(services, job_id)
    folder = jobs.find_job(services, job_id).folder
    (worker,) = [p for p in psutil.Process().children(recursive=True) if p.cmdline()[-1:] == [str(folder)]]
    worker.kill()
    assert finish(job_id).status == "stopped"
    model_hub.resume(services, job_id)
    wait_for(lambda: len(hub.ranges) == 1)
    jobs.cancel(services, job_id)  # heard although nothing comes
    wait_for(lambda: jobs.find_job(services, job_id).ended)
    job = jobs.find_job(services, job_id)
    assert (job.status, job.phase) == ("cancelled", "downloading")
    assert job.first_share > 0.2  # the pace is that of what came since
    assert not models.made_models_folder(services).exists()
    hub.silent.clear()
    assert start(services) == job_id
    done(finish(job_id))
    begins = [int(wanted.removeprefix("bytes=").rstrip("-")) for _, wanted in hub.ranges]
    assert begins == [1 << 20, begins[1]]
    assert begins[1] >= 1 << 20
    assert (models.find_model(services, "team--tiny").path / "model.safetensors").read_bytes() == WEIGHTS
    jobs.forget(services, job_id)
    assert models.find_model(services, "team--tiny")


@pytest.mark.parametrize(("form", "bits"), [("4bit", "4-bit"), pytest.param("16bit", "", marks=pytest.mark.slow)])
def test_one_press_ends_in_a_converted_model(services: Services, hub: LoopbackHub, finish: Finish, form: str, bits: str) -> None:
    result = done(finish(start(services, ArrivalRules(form=form, group_size="32"))))
    model = models.find_model(services, f"team--tiny-{form}")
    assert model.quantization == bits
    assert (model.path / "LICENSE").is_file()
    assert "base_model: team/tiny" in (model.path / "README.md").read_text()
    assert model_library.origin_of(services, model).commit == COMMIT
    assert [made.name for made in exports.list_made(services)] == [model.path.name]
    if bits:
        assert result["size_bytes"] < 0.4 * result["size_bytes_before"]
        assert 0 < result["kl"] < 1
        assert check_model_folder(model.path)["quantization"]["group_size"] == 32
    assert [path.name for path in models.made_models_folder(services).iterdir()] == [model.path.name]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "model_runs_code"),
        pytest.param({"model_type": "of_tomorrow"}, "model_type_unsupported", marks=pytest.mark.slow),
        pytest.param({"num_hidden_layers": 10**9}, "model_config_unbounded", marks=pytest.mark.slow),
    ],
)
def test_hostile_settings_are_refused_before_any_weights_come(
    services: Services, hub: LoopbackHub, finish: Finish, changes: dict[str, object], code: str, tmp_path: Path
) -> None:
    mark = tmp_path / "was-run"
    evil = f"open({str(mark)!r}, 'w')".encode()
    config = json.loads(demo_repository().files["config.json"]) | changes
    hub.models["team/tiny"] = demo_repository({"config.json": json.dumps(config).encode(), "evil.py": evil})
    job = finish(start(services))
    assert job.error
    assert (job.status, job.error.code) == ("failed", code)
    assert gets_of_weights(hub) == 0
    assert not mark.exists()
    assert not models.made_models_folder(services).exists()
    assert not (job.folder / "arriving" / "team--tiny").exists()


def test_a_lost_right_is_told_and_the_next_try_succeeds(
    services: Services, hub: LoopbackHub, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_hub.describe(services, "team/tiny")
    hub.models["team/tiny"].facts["gated"] = "manual"
    job_id = model_hub.start_download(services, model, AS_IS)
    job = finish(job_id)
    assert job.error
    assert job.error.code == "hub_model_needs_token"
    hub.models["team/tiny"].members.add("hf_of_a_member")
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_member")
    model_hub.resume(services, job_id)
    done(finish(job_id))
    secret = [path for path in services.data_dir.rglob("*") if path.is_file() and b"hf_of_a_member" in path.read_bytes()]
    assert secret == []


def test_a_disk_that_is_too_small_is_told_before(services: Services, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_hub.describe(services, "team/tiny")
    assert model_hub.needed_bytes(model, AS_IS) == model.size_bytes
    assert model_hub.needed_bytes(model, ArrivalRules(form="4bit")) == model.size_bytes + int(2 * 2_493_184 * 0.35)
    unknown = replace(model, parameters=0)
    assert model_hub.needed_bytes(unknown, ArrivalRules(form="16bit")) == 5 * model.size_bytes
    room = model.size_bytes + memory.RESERVE_BYTES
    monkeypatch.setattr(memory, "disk_free_bytes", lambda _: room - 1)
    with pytest.raises(UserError, match="disk_nearly_full"):
        model_hub.start_download(services, model, AS_IS)
    assert model_hub.list_downloads(services) == []


def test_who_may_what(services: Services, hub: LoopbackHub) -> None:
    viewer = services.of(Person("Vi", VIEWER))
    for ask in (lambda: model_hub.search(viewer, "tiny"), lambda: model_hub.describe(viewer, "team/tiny")):
        with pytest.raises(UserError, match="role_needed"):
            ask()
    assert hub.asked == []
    assert [found.name for found in model_hub.search(services, " tiny ")] == ["team/tiny"]
    with pytest.raises(UserError, match="hub_model_unknown"):
        model_hub.describe(services, "team/none")


def test_a_model_is_deleted_and_comes_back_but_not_while_it_is_needed(services: Services) -> None:
    ada, tom = (services.of(Person(name, TRAINER)) for name in ("Ada", "Tom"))
    folder = models.made_models_folder(services) / "team--tiny"
    shutil.copytree(DEMO_MODEL, folder)
    write_json(folder / "tunesmith.json", {"owner": "Ada", "hub": {"name": "team/tiny"}})
    model = models.find_model(services, "team--tiny")
    with pytest.raises(UserError, match="owned_by_another"):
        model_library.trash(tom, model)
    stop_supervising(services)  # nothing is launched
    facts = {"name": "needs it", "kind": "train", "method": "sft", "model": model.id, "data": "rows", "data_path": "/rows"}
    run = services.store.create("iters: 1\n", model_path=str(model.path), **facts)
    with pytest.raises(UserError) as error:
        model_library.trash(ada, model)
    assert (error.value.code, error.value.facts["users"]) == ("model_in_use", "needs it")
    services.store.transition(run, "cancelled")
    adapters = AdapterStore(services.data_dir)
    with adapters.staging() as staged:
        write_adapter_files(staged / "adapter")
        adapters.add(staged, "mine", "imported", model.id, model.path, {})
    assert model_library.count_adapters(services, model) == 1
    model_library.trash(ada, model)
    with pytest.raises(UserError, match="model_unknown"):
        models.find_model(services, "team--tiny")
    with pytest.raises(UserError, match="owned_by_another"):
        model_library.restore(tom, "team--tiny")
    model_library.restore(ada, "team--tiny")
    assert models.find_model(services, "team--tiny") == model
    with pytest.raises(UserError, match="model_not_ours"):
        model_library.trash(ada, models.find_model(services, "demo"))


def test_the_command_line(data_dir: Path, hub: LoopbackHub) -> None:
    def tell(*words: str) -> Any:
        answer = CliRunner().invoke(app, ["models", *words, "--json"])
        return answer.exception if isinstance(answer.exception, UserError) else json.loads(answer.stdout)

    (found,) = tell("search", "tiny")
    assert (found["name"], found["licence"]) == ("team/tiny", "cc0-1.0")
    downloaded = tell("download", "team/tiny")
    assert (downloaded["status"], downloaded["result"]["model"]) == ("completed", "team--tiny")
    listed = {model["id"]: model for model in tell("list")}
    assert (listed["team--tiny"]["from"], listed["team--tiny"]["commit"]) == ("hub", COMMIT)
    assert listed["demo"]["licence"] == "cc0-1.0"
    assert tell("delete", "team--tiny") == {"id": "team--tiny", "trashed": True}
    assert tell("download", "team/none").code == "hub_model_unknown"
    assert tell("delete", "none").code == "model_unknown"
