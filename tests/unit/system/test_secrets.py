"""Where keys are found, in which order, and that no more than their end is shown."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import orjson
import pytest

from tests.key_ring import MemoryRing, use_ring
from tunesmith.errors import UserError
from tunesmith.system import key_ring
from tunesmith.system.endpoint import Endpoint, check_endpoint, key_environment
from tunesmith.system.environment import worker_environment
from tunesmith.system.secrets import (
    ENVIRONMENT,
    FILE,
    HUB,
    HUB_LOGIN,
    KEY_RING,
    KeyState,
    check_key,
    find_key,
    hub_environment,
    hub_login_file,
    hub_token,
    key_file,
    key_state,
)

NAME = "ENDPOINT_API_KEY"
BY_PLACE = {place: f"key-of-the-{place.replace('_', '-')}-{n}" for n, place in enumerate((ENVIRONMENT, KEY_RING, FILE, HUB_LOGIN), 1000)}
PROXIES = ("SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def ring() -> Iterator[MemoryRing]:
    with use_ring(MemoryRing()) as opened:
        assert isinstance(opened, MemoryRing)
        yield opened


def write_keys(mode: int = 0o600, content: bytes = b"", **keys: str | None) -> Path:
    path = key_file()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content or orjson.dumps({"v": 1, "keys": keys}))
    path.chmod(mode)
    return path


def code_of(call: object, *args: object) -> tuple[str, dict[str, object]]:
    assert callable(call)
    with pytest.raises(UserError) as error:
        call(*args)
    return error.value.code, error.value.facts


def test_without_a_key_nothing_is_told() -> None:
    assert (find_key(NAME), hub_token()) == ("", "")
    assert key_state(NAME) == KeyState(NAME)
    assert not key_state(NAME).is_set


def test_each_place_is_before_those_after_it(home: Path, monkeypatch: pytest.MonkeyPatch, ring: MemoryRing) -> None:
    (home / "token").write_text(BY_PLACE[HUB_LOGIN] + "\n", encoding="utf-8")
    assert (find_key(HUB), key_state(HUB)) == (BY_PLACE[HUB_LOGIN], KeyState(HUB, (HUB_LOGIN,), "1003"))
    write_keys(HF_TOKEN=BY_PLACE[FILE])
    assert (find_key(HUB), key_state(HUB)) == (BY_PLACE[FILE], KeyState(HUB, (FILE, HUB_LOGIN), "1002"))
    ring.keys["tunesmith", HUB] = BY_PLACE[KEY_RING]
    assert (find_key(HUB), key_state(HUB)) == (BY_PLACE[KEY_RING], KeyState(HUB, (KEY_RING, FILE, HUB_LOGIN), "1001"))
    monkeypatch.setenv(HUB, BY_PLACE[ENVIRONMENT])
    assert (find_key(HUB), key_state(HUB).places, key_state(HUB).last_four) == (BY_PLACE[ENVIRONMENT], tuple(BY_PLACE), "1000")


def test_only_the_hubs_token_is_taken_from_the_hubs_login(home: Path) -> None:
    (home / "token").write_text(BY_PLACE[HUB_LOGIN], encoding="utf-8")
    assert hub_token() == BY_PLACE[HUB_LOGIN]
    assert find_key(NAME) == ""


def test_a_locked_key_ring_is_passed_by(ring: MemoryRing) -> None:
    ring.keys["tunesmith", NAME], ring.locked = BY_PLACE[KEY_RING], True
    write_keys(ENDPOINT_API_KEY=BY_PLACE[FILE])
    assert key_state(NAME).places == (FILE,)
    code, facts = code_of(key_ring.write, NAME, "a-new-key-for-a-locked-ring")
    assert (code, facts) == ("key_ring_refused", {"reason": "KeyringLocked"})  # its own words hold the key


def test_a_ring_that_guards_nothing_is_none(ring: MemoryRing) -> None:
    assert key_ring.works()
    ring.keys["tunesmith", NAME] = BY_PLACE[KEY_RING]
    type(ring).priority = 0.5  # type: ignore[assignment]  # as a plain file's
    try:
        assert not key_ring.works()
        assert find_key(NAME) == ""
    finally:
        type(ring).priority = 5  # type: ignore[assignment]
    assert type(keyring.get_keyring()) is MemoryRing


def test_of_a_short_key_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "k2345678901")
    assert key_state(NAME) == KeyState(NAME, (ENVIRONMENT,), "")
    monkeypatch.setenv(NAME, "k23456789012")
    assert key_state(NAME).last_four == "9012"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o601])
def test_a_file_that_others_can_open_is_refused(mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_keys(mode, ENDPOINT_API_KEY=BY_PLACE[FILE])
    for look in (find_key, key_state):
        assert code_of(look, NAME) == ("secrets_readable_by_others", {"file": str(path)})
    monkeypatch.setenv(NAME, BY_PLACE[ENVIRONMENT])
    assert find_key(NAME) == BY_PLACE[ENVIRONMENT]  # it is not needed


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"keys": 1}', b'{"v": 1}', b'{"keys": {"A_KEY": "planted-key-0123456789"}'])
def test_a_broken_file_is_named_without_what_it_holds(content: bytes) -> None:
    write_keys(content=content)
    code, facts = code_of(find_key, NAME)
    assert code == "store_file_unreadable"
    assert "planted" not in str(facts)


@pytest.mark.parametrize(
    "name", ["", "sk-live-0123456789abcdef", "openai_api_key", "PATH", "A KEY", "TUNESMITH_SERVING_KEY", "KEY\n", "1_KEY"]
)
def test_what_is_no_name_is_refused_and_not_repeated(name: str) -> None:
    """It may be a key in the wrong field."""
    assert code_of(find_key, name) == ("key_name_wrong", {})
    if name:
        assert code_of(check_endpoint, Endpoint("http://127.0.0.1:1/v1", "m", name), ["127.0.0.1"]) == ("key_name_wrong", {})


@pytest.mark.parametrize(
    "key", ["", "  ", "two words-0123456789", "line\nbreak-0123456789", "鍵-0123456789", "bell\x07-0123456789", "k" * 4097]
)
def test_a_key_that_cannot_stand_in_a_header_is_refused_and_not_repeated(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_of(check_key, NAME, key) == ("key_unusable", {"name": NAME})
    if key.strip():
        monkeypatch.setenv(NAME, key)
        assert code_of(find_key, NAME) == ("key_unusable", {"name": NAME})
    assert check_key(NAME, "  good-key-0123456789\n") == "good-key-0123456789"


def test_the_login_is_where_the_hubs_own_client_keeps_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    assert hub_login_file() == home / "token"
    monkeypatch.delenv("HF_HOME")
    assert hub_login_file().relative_to(Path.home()).as_posix() == ".cache/huggingface/token"
    monkeypatch.setenv("HF_TOKEN_PATH", constants.HF_TOKEN_PATH)
    assert str(hub_login_file()) == constants.HF_TOKEN_PATH


def test_a_process_that_asks_is_given_its_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    write_keys(HF_TOKEN="hf_new_0123456789", ENDPOINT_API_KEY="endpoint-0123456789", OTHER_KEY="other-0123456789")
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://p:1")
    given = hub_environment()
    assert given == {
        "HF_TOKEN": "hf_new_0123456789", "HF_ENDPOINT": "http://127.0.0.1:1", "HF_HUB_OFFLINE": "0", "https_proxy": "http://p:1",
    }  # fmt: skip
    write_keys(content=orjson.dumps({"v": 1, "keys": {NAME: "endpoint-0123456789"}, "hosts": {NAME: ["127.0.0.1"]}}))
    assert key_environment(Endpoint("http://127.0.0.1:1/v1", "m", NAME)) == {NAME: "endpoint-0123456789"}
    assert key_environment(Endpoint("http://127.0.0.1:1/v1", "m")) == {}


SECRET = {
    name: f"planted-{n}"
    for n, name in enumerate(
        (
            "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN", "TUNESMITH_SERVE_KEY", "TUNESMITH_SERVING_KEY", "TUNESMITH_ANYTHING", "TUNESMITH_SECRETS_DIR",
            "GITHUB_TOKEN", "WANDB_API_KEY", "PGPASSWORD", "DATABASE_URL", "HTTPS_PROXY", "SSH_AUTH_SOCK", "MLX_API_KEY", "LC_SECRET",
            "CUDA_TOKEN", "OMP_PASSWORD",
        )
    )
}  # fmt: skip
NEEDED = {
    "PATH": "/usr/bin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8", "MLX_RANK": "0", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "0",
    "OPENBLAS_NUM_THREADS": "1", "TUNESMITH_DATA_DIR": "/tmp/data", "TUNESMITH_LIBLLAMA": "/tmp/lib", "PYTHONHASHSEED": "0",
}  # fmt: skip


def test_a_workers_environment_holds_no_secret() -> None:
    given = worker_environment(SECRET | NEEDED)
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import os; print(*(f'{k}={v}' for k, v in os.environ.items()), sep='\\n')"],
        env=given, capture_output=True, text=True, check=True,
    )  # fmt: skip
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert "planted" not in done.stdout
    assert {name: seen.get(name) for name in NEEDED} == NEEDED
    assert set(seen) <= {
        *NEEDED,
        "LC_CTYPE",
        "HF_HUB_OFFLINE",
        "HF_HUB_DISABLE_TELEMETRY",
        "TOKENIZERS_PARALLELISM",
        "PYTHONUNBUFFERED",
        "AGX_RELAX_CDM_CTXSTORE_TIMEOUT",
    }
