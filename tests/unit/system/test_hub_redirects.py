"""The hub's own library follows redirects to where files are stored: they arrive, and the token stays with the hub."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.canary import Listener, answer, listen
from tests.loopback_hub import COMMIT, LoopbackHub, Repository, serve_hub
from tunesmith.data.readers.hub import hub_rows
from tunesmith.data.readers.meter import Budget
from tunesmith.errors import UserError
from tunesmith.export.hub import upload_folder
from tunesmith.system.hub import hub_endpoint

TOKEN = "hf_abcdefghijklmnop"
ROWS = b'{"text": "one"}\n'
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of huggingface_hub's own call of its HTTP library


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serve_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        served.writers = {TOKEN}
        yield served


@pytest.fixture
def storage() -> Iterator[Listener]:
    with listen(answer(body=ROWS), places=("127.0.0.1", "127.0.0.2")) as listener:
        yield listener


def leads_to(address: str) -> Repository:
    headers = {"Location": address, "X-Repo-Commit": COMMIT, "X-Linked-ETag": '"abc"', "X-Linked-Size": str(len(ROWS))}
    return Repository({"data.jsonl": ROWS}, file=(302, headers))


@pytest.mark.parametrize("place", ["http://127.0.0.1:{port}/stored", "http://localhost:{port}/stored"])
def test_a_file_is_fetched_from_its_storage_without_the_token(hub: LoopbackHub, storage: Listener, tmp_path: Path, place: str) -> None:
    hub.repositories["a/b"] = leads_to(place.format(port=storage.port))
    assert [item.value for _, item in hub_rows("a/b", tmp_path, Budget())] == [{"text": "one"}]
    assert {token for _, _, token in hub.asked} == {f"Bearer {TOKEN}"}
    assert storage.hits
    for hit in storage.hits:
        assert hit.startswith(b"GET /stored ")
        assert TOKEN.encode() not in hit
        assert b"uthorization" not in hit


def test_a_description_that_leads_elsewhere_takes_no_token_along(hub: LoopbackHub, storage: Listener, tmp_path: Path) -> None:
    hub.repositories["a/b"] = Repository({}, about=(302, {"Location": f"http://127.0.0.1:{storage.port}/about"}))
    with pytest.raises(UserError):
        list(hub_rows("a/b", tmp_path, Budget()))
    assert not any(TOKEN.encode() in hit for hit in storage.hits)


def test_a_large_file_is_sent_to_its_storage_without_the_token(
    hub: LoopbackHub, storage: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub names the place of each large file; this one takes it and keeps nothing, so the upload is refused afterwards."""
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    batch = hub._batch
    monkeypatch.setattr(hub, "_batch", lambda wanted: _elsewhere(batch(wanted), hub.address, f"http://127.0.0.1:{storage.port}"))
    with pytest.raises(UserError):
        upload_folder(tmp_path, "me/tiny", True, TOKEN)
    assert storage.hits[0].startswith(b"PUT /lfs/")
    assert b"x" * 1000 in storage.hits[0]
    assert not any(TOKEN.encode() in hit for hit in storage.hits if hit.startswith(b"PUT"))


def _elsewhere(told: tuple[int, bytes, dict[str, str]], here: str, there: str) -> tuple[int, bytes, dict[str, str]]:
    return told[0], told[1].replace(here.encode(), there.encode()), told[2]


def test_the_hub_is_the_environments_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No name that a person types is an address."""
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert hub_endpoint() == "https://mirror.example"
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a name was looked up"))
    for name in ("http://127.0.0.1/a", "//evil.example/a", "a/b@evil.example", "a/../b", "a\\b/c", "a/b#c", "a/b?c"):
        with pytest.raises(UserError) as caught:
            list(hub_rows(name, tmp_path, Budget()))
        assert caught.value.code == "hub_name_wrong"
