"""Models of the hub: what is found, described and refused, and how their bytes come, against a hub on loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.hub_models import WEIGHTS, demo_repository
from tests.loopback_hub import COMMIT, LoopbackHub, serve_hub
from tunesmith.errors import UserError
from tunesmith.models.hub import HubModel, ModelHub
from tunesmith.models.hub_files import ModelFile, choose_files, size_of_weights
from tunesmith.system.paths import DEMO_MODEL

WEIGHTS_PATH = f"/team/tiny/resolve/{COMMIT}/model.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    with serve_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        served.models["team/tiny"] = demo_repository()
        yield served


def refusal(name: str = "team/tiny", token: str | None = None) -> tuple[str, dict[str, object]]:
    with pytest.raises(UserError) as error:
        ModelHub(token).describe(name)
    return error.value.code, error.value.facts


def weights_of(model: HubModel) -> ModelFile:
    return next(file for file in model.files if file.is_weights)


def fetch(folder: Path) -> list[int]:
    """Download the weights; return what was told to be there."""
    hub, told = ModelHub(None), []
    model = hub.describe("team/tiny")
    hub.download(model, weights_of(model), folder, told.append)
    return told


def asked_for_weights(hub: LoopbackHub) -> int:
    return sum(method == "GET" and path == WEIGHTS_PATH for method, path, _ in hub.asked)


def test_a_search_shows_mlx_first_then_the_most_loaded(hub: LoopbackHub) -> None:
    hub.models["big/tiny-other"] = demo_repository(tags=["license:apache-2.0"], downloads=9_000, gated="auto", safetensors=None)
    hub.models["big/tiny-loved"] = demo_repository(tags=["safetensors"], downloads=99_000)
    hub.models["big/else"] = demo_repository()
    found = ModelHub(None).search("TINY", 10, mlx_only=False)
    assert [each.name for each in found] == ["team/tiny", "big/tiny-loved", "big/tiny-other"]
    mine, loved, other = found
    assert (mine.is_mlx, mine.licence, mine.parameters, mine.size_bytes) == (True, "cc0-1.0", 2_493_184, 2 * 2_493_184)
    assert (loved.is_mlx, loved.has_safetensors, loved.licence) == (False, True, "")
    assert (other.gated, other.has_safetensors, other.size_bytes) == (True, False, 0)
    assert [each.name for each in ModelHub(None).search("tiny", 10, mlx_only=True)] == ["team/tiny"]
    hub.models["team/tiny"] = demo_repository(safetensors={"parameters": {"BF16": 40, "U32": 300}, "total": 340})
    (packed,) = ModelHub(None).search("tiny", 10, mlx_only=True)
    assert (packed.parameters, packed.size_bytes) == (0, 2 * 40 + 4 * 300)  # eight of four bits in each of the 300


def test_only_what_a_model_needs_is_taken_and_pinned(hub: LoopbackHub) -> None:
    hub.models["team/tiny"] = demo_repository(
        {
            "modeling_evil.py": b"import os", "pytorch_model.bin": b"\x80\x04", "../model.safetensors": b"x", "sub/model.safetensors": b"x",
            "tunesmith.json": b"{}", ".gitattributes": b"", "LICENSE.py": b"1", "consolidated.safetensors": b"x",
        }
    )  # fmt: skip
    model = ModelHub(None).describe("team/tiny")
    own = {path.name for path in DEMO_MODEL.iterdir()} | {"LICENSE"}
    assert {file.name for file in model.files} == own
    assert (model.commit, model.licence, model.address) == (COMMIT, "cc0-1.0", f"{hub.address}/team/tiny")
    assert model.files[0].name == "config.json"
    assert model.files[-1].is_weights  # the large files last
    assert model.size_bytes == sum(len(hub.models["team/tiny"].files[name]) for name in own)


def test_a_commit_that_was_looked_at_before_is_asked_for_by_its_name(hub: LoopbackHub) -> None:
    ModelHub(None).describe("team/tiny", COMMIT)
    assert [path for _, path, _ in hub.asked] == [f"/api/models/team/tiny/revision/{COMMIT}"]


def test_a_licence_that_is_no_name_is_not_shown(hub: LoopbackHub) -> None:
    hub.models["team/tiny"] = demo_repository(tags=["license:[free](http://evil)"])
    assert ModelHub(None).describe("team/tiny").licence == ""


def test_states_of_a_gated_model(hub: LoopbackHub) -> None:
    hub.models["team/tiny"] = repository = demo_repository(gated="manual")
    facts = {"name": "team/tiny", "endpoint": hub.address}
    assert refusal() == ("hub_model_needs_token", facts)
    assert refusal(token="hf_stranger") == ("hub_model_not_granted", facts)
    hub.wrong.add("hf_old")
    assert refusal(token="hf_old") == ("hub_token_refused", {"endpoint": hub.address})
    repository.members.add("hf_member")
    assert ModelHub("hf_member").describe("team/tiny").gated
    repository.facts["gated"] = False
    repository.file = (403, {"X-Error-Message": "Enable access to gated repositories in your token's settings"})
    hub.private.add("team/tiny")
    hub.writers.add("hf_narrow")
    code, told = refusal(token="hf_narrow")
    assert code == "hub_model_forbidden"
    assert "token's settings" in str(told["reason"])


@pytest.mark.parametrize("name", ["", "tiny", "a/b/c", "../x", "team/..", "https://huggingface.co/team/tiny", "a b/c"])
def test_what_is_no_name(hub: LoopbackHub, name: str) -> None:
    assert refusal(name) == ("hub_model_name_wrong", {"name": name})
    assert hub.asked == []


def test_what_is_not_there_or_cannot_be_reached(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal("team/none")[0] == "hub_model_unknown"
    hub.models["team/tiny"].about = (500, {})
    assert refusal()[0] == "hub_unreachable"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    code, facts = refusal()
    assert (code, facts["endpoint"]) == ("hub_unreachable", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="hub_unreachable"):
        ModelHub(None).search("tiny", 5, mlx_only=True)


def test_a_hub_that_asks_to_wait(hub: LoopbackHub, tmp_path: Path) -> None:
    model = ModelHub(None).describe("team/tiny")
    hub.busy = [{"Retry-After": "0"}]
    ModelHub(None).download(model, weights_of(model), tmp_path, lambda _: None)
    assert hub.busy == []
    assert asked_for_weights(hub) == 2
    hub.busy = [{}] * 9
    assert refusal()[0] == "hub_busy"


def files_of(**sizes: int) -> list[ModelFile]:
    usual = {"config.json": 100, "tokenizer.json": 100, "model.safetensors": 1000}
    return [ModelFile(name, size) for name, size in (usual | sizes).items() if size]


@pytest.mark.parametrize(
    ("sizes", "code"),
    [
        ({"config.json": 0}, "model_config_missing"),
        ({"tokenizer.json": 0}, "model_tokenizer_missing"),
        ({"model.safetensors": 0}, "model_weights_missing"),
        ({"model.safetensors": 0, "pytorch_model.bin": 9}, "model_weights_pickled"),
        ({"model.safetensors": 0, "weights.gguf": 9}, "model_weights_missing"),
        ({"config.json": 2_000_001}, "model_file_too_large"),
        ({"model.safetensors.index.json": 32_000_001}, "model_file_too_large"),
        ({"tokenizer.json": 128_000_001}, "model_file_too_large"),
    ],
)
def test_repositories_that_are_refused_by_their_list_of_files(sizes: dict[str, int], code: str) -> None:
    with pytest.raises(UserError) as error:
        choose_files("team/tiny", files_of(**sizes))
    assert error.value.code == code


def test_sizes_of_weights() -> None:
    assert size_of_weights({"BF16": 10, "F32": 3, "U32": 5, "F8_E4M3": 7}) == 20 + 12 + 20 + 7


def test_a_broken_connection_goes_on_where_it_ended(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.drops = [2_500_000, 1_100_000]
    told = fetch(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS
    starts = [int(wanted.removeprefix("bytes=").rstrip("-")) for _, wanted in hub.ranges]
    assert starts == [2 << 20, 3 << 20]  # what came in whole pieces
    assert told[-1] == len(WEIGHTS)
    assert sorted(told) == told


def test_the_next_try_asks_for_the_rest_only(hub: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.part").write_bytes(WEIGHTS[:4_000_000])
    assert fetch(tmp_path)[0] == 4_000_000
    assert hub.ranges == [(WEIGHTS_PATH, "bytes=4000000-")]
    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS
    before = asked_for_weights(hub)
    fetch(tmp_path)  # it is there
    assert asked_for_weights(hub) == before


def test_a_hub_without_ranges_sends_all_again(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.ignores_ranges = True
    (tmp_path / "model.safetensors.part").write_bytes(b"\0" * 4_000_000)
    fetch(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS


def test_a_hub_that_is_gone_ends_the_tries(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.drops = [1_500_000, 0, 0, 0]
    with pytest.raises(UserError, match="hub_unreachable"):
        fetch(tmp_path)
    assert (tmp_path / "model.safetensors.part").stat().st_size == 1 << 20
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("damage", [WEIGHTS[:4_000_000] + b"\0" + WEIGHTS[4_000_001:], b"\0" * len(WEIGHTS)])
def test_what_is_not_what_was_described_is_refused(hub: LoopbackHub, tmp_path: Path, damage: bytes) -> None:
    service = ModelHub(None)
    model = service.describe("team/tiny")
    hub.models["team/tiny"].files["model.safetensors"] = damage
    with pytest.raises(UserError, match="hub_file_damaged"):
        service.download(model, weights_of(model), tmp_path, lambda _: None)
    assert list(tmp_path.iterdir()) == []
    tokenizer = next(file for file in model.files if file.name == "tokenizer.json")
    hub.models["team/tiny"].files["tokenizer.json"] = b"{}" + b" " * (tokenizer.size_bytes - 2)
    with pytest.raises(UserError, match="hub_file_damaged"):
        service.download(model, tokenizer, tmp_path, lambda _: None)


def test_more_bytes_than_described_are_not_written(hub: LoopbackHub, tmp_path: Path) -> None:
    service = ModelHub(None)
    model = service.describe("team/tiny")
    hub.models["team/tiny"].files["model.safetensors"] = WEIGHTS + b"\0" * 20_000_000
    told: list[int] = []
    with pytest.raises(UserError, match="hub_file_damaged"):
        service.download(model, weights_of(model), tmp_path, told.append)
    assert 0 < max(told) <= len(WEIGHTS)


def test_the_token_does_not_follow_to_another_server(hub: LoopbackHub, tmp_path: Path) -> None:
    with serve_hub() as storage:
        storage.models["team/tiny"] = demo_repository()
        hub.models["team/tiny"].file = (302, {"Location": f"{storage.address}{WEIGHTS_PATH}"})
        service = ModelHub("hf_secret")
        model = service.describe("team/tiny")
        service.download(model, weights_of(model), tmp_path, lambda _: None)
        assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS
        assert storage.asked == [("GET", WEIGHTS_PATH, "")]
    assert {authorization for _, _, authorization in hub.asked} == {"Bearer hf_secret"}


def test_a_mirror_that_tells_no_sizes_is_asked_for_each(hub: LoopbackHub) -> None:
    hub.models["team/tiny"].sizes = False
    assert weights_of(ModelHub(None).describe("team/tiny")).size_bytes == len(WEIGHTS)


def test_a_full_disk_keeps_what_came(hub: LoopbackHub, tmp_path: Path) -> None:
    usable = Path("/dev/full")
    if not usable.exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "model.safetensors.part").symlink_to(usable)
    service = ModelHub(None)
    model = service.describe("team/tiny")
    with pytest.raises(UserError, match="disk_full"):
        service.download(model, weights_of(model), tmp_path, lambda _: None)
    shutil.rmtree(tmp_path)
