"""Where the hub's token is found, in which order, and that no more than its end is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunesmith.system.environment import worker_environment
from tunesmith.system.secrets import TokenState, hub_environment, hub_token, token_file, token_state


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    forget_keyring()
    yield tmp_path
    forget_keyring()


def forget_keyring() -> None:
    """Take a package `keyring` of a test away: what was imported once stays for all later tests."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "keyring"]:
        del sys.modules[name]


def install_keyring(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Put a package `keyring` on the path; its answer is `body`."""
    package = folder / "packages" / "keyring"
    package.mkdir(parents=True)
    (package / "errors.py").write_text("class KeyringError(Exception):\n    pass\n", encoding="utf-8")
    (package / "__init__.py").write_text(
        f"from .errors import KeyringError\ndef get_password(service, account):\n    {body}\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(package.parent))


def test_without_a_token_nothing_is_told() -> None:
    assert hub_token() is None
    assert token_state() == TokenState(is_set=False)


def test_the_environment_is_before_the_key_ring_and_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "token").write_text("hf_from_the_file_1234\n", encoding="utf-8")
    assert hub_token() == "hf_from_the_file_1234"
    assert token_state() == TokenState(True, "file", "1234")
    install_keyring(home, monkeypatch, "return f'hf_{service}_{account}_5678'")
    assert hub_token() == "hf_tunesmith_hub-token_5678"
    assert token_state() == TokenState(True, "keyring", "5678")
    monkeypatch.setenv("HF_TOKEN", "hf_from_the_environment_9abc")
    assert token_state() == TokenState(True, "environment", "9abc")


def test_a_locked_key_ring_is_passed_by(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_keyring(home, monkeypatch, "raise KeyringError('locked')")
    (home / "token").write_text("hf_from_the_file_1234", encoding="utf-8")
    assert token_state().source == "file"


def test_of_a_short_token_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_1234")
    assert token_state() == TokenState(True, "environment", "")


def test_the_file_is_where_the_hubs_own_client_keeps_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    assert token_file() == home / "token"
    monkeypatch.delenv("HF_HOME")
    assert token_file().relative_to(Path.home()).as_posix() == ".cache/huggingface/token"
    monkeypatch.setenv("HF_TOKEN_PATH", constants.HF_TOKEN_PATH)
    assert str(token_file()) == constants.HF_TOKEN_PATH


def test_only_the_uploading_process_is_given_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"HF_TOKEN": "hf_old", "HF_ENDPOINT": "http://127.0.0.1:1", "PATH": "/bin", "AWS_SECRET": "x"}
    assert "HF_TOKEN" not in worker_environment(source)
    given = worker_environment(source) | hub_environment("hf_new", source)
    assert (given["HF_TOKEN"], given["HF_ENDPOINT"], given["HF_HUB_OFFLINE"]) == ("hf_new", "http://127.0.0.1:1", "0")
    assert "AWS_SECRET" not in given
