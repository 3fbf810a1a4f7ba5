"""A model folder on the hub: uploaded by the real client over loopback, downloaded again and compared; no refusal shows the token."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants, snapshot_download

from tests.loopback_hub import COMMIT, LoopbackHub, Repository, serve_hub
from tunesmith.errors import UserError
from tunesmith.export.hub import upload_folder

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of huggingface_hub's own call of its HTTP library
TOKEN = "hf_abcdefghijklmnop"
READER = "hf_reader_reader_reader"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serve_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        served.writers, served.readers = {TOKEN}, {READER}
        yield served


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a model folder with all that is given on, and what is not: code, hidden files, folders, pickles."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(bytes(range(256)) * 2000)
    (model / "model-2.safetensors").write_bytes(b"second" * 50_000)
    (model / "config.json").write_text('{"model_type": "qwen3"}', encoding="utf-8")
    (model / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    (model / "README.md").write_text("---\nlibrary_name: mlx\n---\n# 模型\n", encoding="utf-8")
    for name in ("evil.py", ".env.json", "weights.bin"):
        (model / name).write_text("secret", encoding="utf-8")
    (model / "sub").mkdir()
    return model


SHARED = {"model.safetensors", "model-2.safetensors", "config.json", "chat_template.jinja", "README.md"}


@pytest.mark.parametrize("private", [True, False])
def test_what_is_uploaded_comes_down_the_same(hub: LoopbackHub, folder: Path, tmp_path: Path, private: bool) -> None:
    told: list[tuple[str, float]] = []
    done = upload_folder(folder, "me/tiny", private, TOKEN, lambda phase, share: told.append((phase, share)))
    assert (done.address, done.commit, done.files) == (f"{hub.address}/me/tiny", COMMIT, len(SHARED))
    assert done.size_bytes == sum((folder / name).stat().st_size for name in SHARED)
    assert ("me/tiny" in hub.private) == private
    down = Path(snapshot_download("me/tiny", endpoint=hub.address, token=TOKEN, cache_dir=tmp_path / "cache"))
    assert {path.name for path in down.iterdir()} == SHARED
    assert all((down / name).read_bytes() == (folder / name).read_bytes() for name in SHARED)
    assert len(hub.objects) == 2
    phases = list(dict.fromkeys(phase for phase, _ in told))
    assert phases == ["creating_repository", "hashing", "uploading", "checking"]
    for phase in ("hashing", "uploading"):
        shares = [share for name, share in told if name == phase]
        assert shares == sorted(shares)
        assert len(shares) > 3
        assert 0 < shares[0] < 1
        assert shares[-1] == pytest.approx(1.0)
    authorized = {authorization for _, path, authorization in hub.asked if path.startswith("/lfs/") and "verify" not in path}
    assert authorized == {""}, "the token goes to the hub, not to its storage"


def test_a_large_file_goes_in_parts(hub: LoopbackHub, folder: Path) -> None:
    hub.part_bytes = 200_000
    told: list[float] = []
    upload_folder(folder, "me/tiny", True, TOKEN, lambda phase, share: told.append(share) if phase == "uploading" else None)
    parts = [path for method, path, _ in hub.asked if method == "PUT" and "/part/" in path]
    assert len(parts) == 3 + 2  # of 512,000 and 300,000 bytes
    assert {*hub.models["me/tiny"].files} == SHARED
    assert all(hub.models["me/tiny"].files[name] == (folder / name).read_bytes() for name in SHARED)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


def test_an_existing_repository_is_asked_for(hub: LoopbackHub, folder: Path) -> None:
    hub.models["me/tiny"] = Repository({"theirs.md": b"kept"})
    hub.private.add("me/tiny")
    refuse(folder, TOKEN, "hub_repository_exists")
    assert hub.models["me/tiny"].files == {"theirs.md": b"kept"}
    upload_folder(folder, "me/tiny", True, TOKEN, into_existing=True)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    sent = len([method for method, _, _ in hub.asked if method == "PUT"])
    upload_folder(folder, "me/tiny", True, TOKEN, into_existing=True)
    assert len([method for method, _, _ in hub.asked if method == "PUT"]) == sent == 2
    assert {*hub.models["me/tiny"].files} == SHARED | {"theirs.md"}
    assert hub.models["me/tiny"].files["config.json"] == b'{"model_type": "llama"}'


def test_what_is_to_be_private_never_goes_into_a_public_repository(hub: LoopbackHub, folder: Path) -> None:
    hub.models["me/tiny"] = Repository({"config.json": b"{}"})
    refused = refuse(folder, TOKEN, "hub_repository_public", into_existing=True)
    assert refused.facts == {"name": "me/tiny", "endpoint": hub.address}
    assert hub.models["me/tiny"].files == {"config.json": b"{}"}
    assert not hub.objects
    upload_folder(folder, "me/tiny", False, TOKEN, into_existing=True)
    assert {*hub.models["me/tiny"].files} == SHARED
    upload_folder(folder, "me/new", True, TOKEN, into_existing=True)
    assert "me/new" in hub.private, "one that is not there yet is made private"


OLD_MODEL = ("model.safetensors", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json",
             "chat_template.json")  # fmt: skip
OF_OTHERS = {name: b"kept" for name in ("tiny-Q8_0.gguf", "adapter_model.safetensors", "model-old/model.safetensors", "model.py")}


def test_weights_of_an_old_model_are_not_left_beside_new_ones(hub: LoopbackHub, folder: Path) -> None:
    hub.models["me/tiny"] = Repository(dict.fromkeys(OLD_MODEL, b"old") | OF_OTHERS)
    upload_folder(folder, "me/tiny", False, TOKEN, into_existing=True)
    files = hub.models["me/tiny"].files
    assert {*files} == SHARED | {*OF_OTHERS}
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert {name: files[name] for name in OF_OTHERS} == OF_OTHERS
    assert len([path for _, path, _ in hub.asked if "/commit/" in path]) == 1, "taken out by the commit that brings the new ones"
    (folder / "chat_template.jinja").unlink()
    upload_folder(folder, "me/tiny", False, TOKEN, into_existing=True)
    assert {*hub.models["me/tiny"].files} == SHARED - {"chat_template.jinja"} | {*OF_OTHERS}


def test_other_uploads_leave_an_old_model_alone(hub: LoopbackHub, tmp_path: Path) -> None:
    """A GGUF file or an adapter beside a model is loaded by other names."""
    hub.models["me/tiny"] = Repository(dict.fromkeys(OLD_MODEL, b"old"))
    for name in ("tiny-Q4_0.gguf", "adapter_model.safetensors"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_bytes(b"new")
        upload_folder(folder, "me/tiny", False, TOKEN, into_existing=True)
    assert hub.models["me/tiny"].files == dict.fromkeys(OLD_MODEL, b"old") | {"tiny-Q4_0.gguf": b"new", "adapter_model.safetensors": b"new"}


def test_refusals_are_worded_without_the_token(hub: LoopbackHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(folder, "hf_unknown_unknown_unknown", "hub_upload_token_refused")
    refuse(folder, READER, "hub_upload_forbidden")
    refuse(folder, TOKEN, "hub_repository_name_wrong", name="me/ti/ny")
    refuse(folder / "sub", TOKEN, "nothing_to_share")
    hub.models["me/tiny"] = Forgotten({})
    refuse(folder, TOKEN, "hub_repository_unknown", into_existing=True)
    hub.models.clear()
    hub.lost = {"model.safetensors"}
    refused = refuse(folder, TOKEN, "hub_upload_incomplete")
    assert refused.facts["files"] == "model.safetensors"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refuse(folder, TOKEN, "hub_upload_unreachable")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    refuse(folder, TOKEN, "hub_upload_unreachable")


def test_a_hub_that_loses_an_upload_is_told(hub: LoopbackHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "objects", Forgetful())
    refuse(folder, TOKEN, "hub_upload_failed")  # the check of a large file finds nothing
    assert not hub.models["me/tiny"].files


class Forgetful(dict[str, bytes]):
    """Storage that loses what it is given."""

    def __setitem__(self, key: str, value: bytes) -> None:
        """Keep nothing."""


class Forgotten(Repository):
    """A repository that is named but not there."""

    def __bool__(self) -> bool:
        return False


def refuse(folder: Path, token: str, code: str, name: str = "me/tiny", into_existing: bool = False) -> UserError:
    with pytest.raises(UserError) as refused:
        upload_folder(folder, name, True, token, into_existing=into_existing)
    assert refused.value.code == code, refused.value
    shown = f"{refused.value} {refused.value.__cause__!r}"
    assert token not in shown
    return refused.value


def test_the_double_serves_nothing_private_to_strangers(hub: LoopbackHub, folder: Path) -> None:
    upload_folder(folder, "me/tiny", True, TOKEN)
    with pytest.raises(OSError, match="401"):
        HfApi(endpoint=hub.address, token=False).model_info("me/tiny")
