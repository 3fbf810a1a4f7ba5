"""Keys that people set: kept where nobody else reads, told to nobody, removed where they were set."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import orjson
import pytest

from tests.key_ring import MemoryRing, use_ring
from tunesmith import cli
from tunesmith.access.people import ADMIN, TRAINER, VIEWER, Person
from tunesmith.errors import UserError
from tunesmith.jobs.job import JobFolders
from tunesmith.services import keys, rights
from tunesmith.services.context import Services
from tunesmith.services.jobs import EVALUATIONS
from tunesmith.services.keys import KnownKey
from tunesmith.services.synthesis import GENERATIONS
from tunesmith.system.endpoint import Endpoint, check_endpoint
from tunesmith.system.key_hosts import chosen_hosts
from tunesmith.system.secrets import ENVIRONMENT, FILE, HUB, HUB_LOGIN, KEY_RING, find_key, key_file

KEY, OTHER = "planted-key-of-an-endpoint-5f3a", "another-key-of-an-endpoint-77aa"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "A_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return tmp_path


def as_role(s: Services, role: str) -> Services:
    return s.of(Person("Ada", role))


def code_of_removal(s: Services, name: str) -> str:
    with pytest.raises(UserError) as error:
        keys.remove_key(s, name)
    assert error.value.facts == {"name": name}
    return error.value.code


def test_a_key_is_set_used_replaced_and_removed(services: Services) -> None:
    endpoint = Endpoint("http://127.0.0.1:1/v1", "m", "A_KEY")
    with pytest.raises(UserError, match="endpoint_key_missing"):
        check_endpoint(endpoint, ["127.0.0.1"])
    assert keys.set_key(services, "A_KEY", f" {KEY}\n") == KnownKey("A_KEY", (), (), True, (FILE,), "5f3a")
    check_endpoint(endpoint, ["127.0.0.1"])
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert not key_file().is_relative_to(services.data_dir)
    assert keys.set_key(services, "A_KEY", OTHER).last_four == "77aa"
    assert find_key("A_KEY") == OTHER
    assert KEY not in key_file().read_text()
    assert [key.name for key in keys.list_keys(services)] == [HUB, "A_KEY"]
    assert not keys.remove_key(services, "A_KEY").is_set
    assert orjson.loads(key_file().read_bytes()) == {"v": 1, "keys": {}, "hosts": {}}
    assert code_of_removal(services, "A_KEY") == "key_not_set"


def test_the_audit_names_the_key_and_does_not_hold_it(services: Services) -> None:
    keys.set_key(services, "A_KEY", KEY)
    keys.remove_key(services, "A_KEY")
    assert [(line["action"], line["facts"]) for line in rights.audit(services)] == [
        ("keys.remove_key", {"name": "A_KEY"}), ("keys.set_key", {"name": "A_KEY"}),
    ]  # fmt: skip
    assert KEY.encode() not in (services.data_dir / "audit.jsonl").read_bytes()


@pytest.mark.parametrize("role", [VIEWER, TRAINER])
def test_only_admins_see_more_than_whether_it_is_set(services: Services, role: str) -> None:
    keys.set_key(services, HUB, KEY)
    (shown,) = keys.list_keys(as_role(services, role))
    assert shown == keys.find_key(as_role(services, role), HUB) == KnownKey(HUB, (), (), True, (), "")
    assert keys.list_keys(as_role(services, ADMIN))[0].places == (FILE,)
    for act in (lambda s: keys.set_key(s, HUB, OTHER), lambda s: keys.remove_key(s, HUB)):
        with pytest.raises(UserError, match="role_needed"):
            act(as_role(services, role))
    assert find_key(HUB) == KEY


def test_the_key_ring_keeps_what_the_file_only_names(services: Services) -> None:
    keys.set_key(services, "A_KEY", KEY)
    with use_ring(MemoryRing()) as ring:
        assert isinstance(ring, MemoryRing)
        assert keys.set_key(services, "A_KEY", OTHER).places == (KEY_RING,)
        assert ring.keys == {("tunesmith", "A_KEY"): OTHER}
        assert orjson.loads(key_file().read_bytes())["keys"] == {"A_KEY": None}  # the older one is gone too
        assert [key.name for key in keys.list_keys(services)] == [HUB, "A_KEY"]
        ring.locked = True
        with pytest.raises(UserError, match="key_ring_refused"):
            keys.set_key(services, "A_KEY", KEY)
        ring.locked = False
        assert not keys.remove_key(services, "A_KEY").is_set
        assert ring.keys == {}


def test_what_was_not_set_here_is_not_removed_here(services: Services, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "token").write_text("hf_of_the_hubs_own_client", encoding="utf-8")
    assert code_of_removal(services, HUB) == "key_of_hub_login"
    monkeypatch.setenv("A_KEY", OTHER)
    assert code_of_removal(services, "A_KEY") == "key_in_environment"
    assert keys.set_key(services, "A_KEY", KEY).places == (ENVIRONMENT, FILE)
    assert keys.remove_key(services, "A_KEY").places == (ENVIRONMENT,)
    assert keys.find_key(services, HUB).places == (HUB_LOGIN,)


def test_what_is_refused_is_not_repeated(services: Services) -> None:
    for name, value, facts in (("A_KEY", "two words of a key", {"name": "A_KEY"}), (KEY, OTHER, {}), ("PATH", OTHER, {})):
        with pytest.raises(UserError) as error:
            keys.set_key(services, name, value)
        assert error.value.facts == facts
    assert not key_file().exists()
    assert rights.audit(services) == []


def test_endpoints_in_use_name_their_keys(services: Services) -> None:
    def asked(shelf: str, **request: object) -> None:
        JobFolders(services.data_dir / shelf).create({"kind": "judge", **request})

    def at(host: str, name: str) -> dict[str, str]:
        return {"address": f"http://{host}:1/v1", "model": "m", "key_variable": name}

    asked(EVALUATIONS, judge={"name": "m", "endpoint": at("judge.example", "A_KEY")})
    asked(EVALUATIONS, judge={"name": "m", "endpoint": at("other.example", "A_KEY")})
    asked(EVALUATIONS, judge={"name": "here", "endpoint": None})
    asked(EVALUATIONS, metrics=[])
    asked(GENERATIONS, endpoint=at("maker.example", "MAKER_TOKEN"))
    asked(GENERATIONS, endpoint=at("maker.example", "sk-a-key-in-the-wrong-field"))
    asked(GENERATIONS, endpoint=at("maker.example", ""))
    asked(GENERATIONS, endpoint={"address": 3})
    torn = JobFolders(services.data_dir / GENERATIONS)
    (torn.folder(torn.create({})) / "request.json").write_bytes(b"{")
    found = {key.name: set(key.asked_by) for key in keys.list_keys(services)}
    assert found == {HUB: set(), "A_KEY": {"judge.example", "other.example"}, "MAKER_TOKEN": {"maker.example"}}


def test_the_command_line_takes_a_key_from_its_input(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del data_dir
    monkeypatch.setattr("sys.stdin", io.StringIO(KEY + "\n"))
    cli.app(["keys", "set", "A_KEY", "--host", "API.example"], standalone_mode=False)
    assert find_key("A_KEY") == KEY
    cli.app(["keys", "list", "--json"], standalone_mode=False)
    said = capsys.readouterr().out
    assert orjson.loads(said.splitlines()[-1])[1] == {
        "name": "A_KEY", "asked_by": [], "hosts": ["api.example"], "is_set": True, "places": [FILE], "last_four": "5f3a",
    }  # fmt: skip
    cli.app(["keys", "list"], standalone_mode=False)
    assert "…5f3a" in capsys.readouterr().out
    cli.app(["keys", "hosts", "A_KEY", ".example.com", "127.0.0.1:8080"], standalone_mode=False)
    assert chosen_hosts("A_KEY") == (".example.com", "127.0.0.1:8080")
    cli.app(["keys", "remove", "A_KEY"], standalone_mode=False)
    assert find_key("A_KEY") == ""
    assert KEY not in said + "".join(capsys.readouterr())
    with pytest.raises(UserError, match="key_name_wrong"):
        cli.app(["keys", "set", KEY], standalone_mode=False)
