"""A key goes to its own hosts and nowhere else: whoever asks, wherever the key lies, through every door that names an endpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.judge_double import LEFT, RIGHT, add_evaluation
from tunesmith.access.people import ADMIN, TRAINER, Person
from tunesmith.data.synthesis import SynthesisRules
from tunesmith.errors import UserError
from tunesmith.evaluation.judging import JudgeRules
from tunesmith.jobs import generation, job
from tunesmith.jobs.job import EVALUATIONS, JobFolders
from tunesmith.services import judging, keys, rights, synthesis
from tunesmith.services.context import Services
from tunesmith.services.endpoints import open_endpoint
from tunesmith.services.judging import Judge
from tunesmith.settings.schema import AppSettings
from tunesmith.system.endpoint import Endpoint, key_environment
from tunesmith.system.key_hosts import chosen_hosts, read_key_host, require_key_host
from tunesmith.system.secrets import HUB, key_file

KEY = "planted-key-of-an-endpoint-5f3a"
GOOD, BAD = "https://good.example/v1", "https://bad.example/v1"


@pytest.fixture(autouse=True)
def _both_hosts_are_allowed(services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    services.kept.settings = AppSettings(endpoint_hosts=("good.example", "bad.example", "huggingface.co", "router.huggingface.co"))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in (HUB, "HF_ENDPOINT", "A_KEY"):
        monkeypatch.delenv(name, raising=False)


def trainer(s: Services) -> Services:
    return s.of(Person("Tom", TRAINER))


def refusal(act: Callable[[], object]) -> UserError:
    with pytest.raises(UserError) as error:
        act()
    return error.value


@pytest.mark.parametrize(
    ("entry", "address", "fits"),
    [
        ("good.example", GOOD, True), ("good.example", "http://GOOD.example.:99", True), ("good.example", "https://x.good.example", False),
        ("good.example", "https://good.example.bad.example", False), ("good.example:8443", GOOD, False),
        ("good.example:8443", "https://good.example:8443", True), (".good.example", "https://a.b.good.example", True),
        (".good.example", GOOD, False), (".good.example", "https://notgood.example", False), ("127.0.0.1", "http://127.0.0.1:80/v1", True),
        ("::1", "http://[::1]:80", True), ("[::1]:81", "http://[::1]:80", False), ("例え.jp", "https://xn--r8jz45g.jp", True),
    ],
)  # fmt: skip
def test_an_entry_means_what_it_says(services: Services, entry: str, address: str, fits: bool) -> None:
    keys.set_key(services, "A_KEY", KEY, [entry])
    if fits:
        require_key_host("A_KEY", address)
    else:
        assert refusal(lambda: require_key_host("A_KEY", address)).code == "key_not_for_host"


@pytest.mark.parametrize(
    "entry", ["", ".", ".com", ".example.com:1", "*", "*.example.com", "a b", "http://a.example", "a=192.168.1.1", "a/"]
)
def test_what_is_no_host_is_refused_and_nothing_is_kept(services: Services, entry: str) -> None:
    assert refusal(lambda: read_key_host(entry)).code == "key_host_wrong"
    if entry:
        assert refusal(lambda: keys.set_key(services, "A_KEY", KEY, [entry])).code == "key_host_wrong"
        assert not key_file().exists()


@pytest.mark.parametrize("place", ["file", "environment"])
def test_nobody_sends_a_key_to_another_host(services: Services, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if place == "file":
        keys.set_key(services, "A_KEY", KEY, ["good.example"])
    else:
        monkeypatch.setenv("A_KEY", KEY)
        keys.set_hosts(services, "A_KEY", ["good.example"])
    for s in (trainer(services), services.of(Person("Ada", ADMIN))):
        error = refusal(lambda s=s: open_endpoint(s, Endpoint(BAD, "m", "A_KEY")))  # type: ignore[misc]
        assert (error.code, error.facts) == ("key_not_for_host", {"name": "A_KEY", "host": "bad.example", "hosts": "good.example"})
        assert open_endpoint(s, Endpoint(GOOD, "m", "A_KEY")) == {"A_KEY": KEY}
        assert open_endpoint(s, Endpoint(BAD, "m")) == {}
    assert chosen_hosts("A_KEY") == ("good.example",)


def test_a_new_key_is_for_the_host_at_which_an_admin_uses_it_first(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    asked = Endpoint(GOOD, "m", "A_KEY")
    assert refusal(lambda: open_endpoint(trainer(services), asked)).code == "key_without_host"
    assert chosen_hosts("A_KEY") == ()
    assert refusal(lambda: open_endpoint(services, Endpoint("https://elsewhere.example", "m", "A_KEY"))).code == "endpoint_host_not_allowed"
    assert open_endpoint(services, asked) == open_endpoint(trainer(services), asked) == {"A_KEY": KEY}
    assert chosen_hosts("A_KEY") == ("good.example",)
    assert refusal(lambda: open_endpoint(services, Endpoint(BAD, "m", "A_KEY"))).code == "key_not_for_host"
    (line,) = rights.audit(services)
    assert (line["action"], line["facts"]) == ("keys.first_host", {"name": "A_KEY", "host": "good.example"})


def test_the_hubs_token_is_for_the_hub_and_what_was_added(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.set_key(services, HUB, KEY)
    for address in ("https://huggingface.co/v1", "https://router.huggingface.co/v1"):
        assert open_endpoint(trainer(services), Endpoint(address, "m", HUB)) == {HUB: KEY}
    assert refusal(lambda: open_endpoint(services, Endpoint(GOOD, "m", HUB))).code == "key_not_for_host"  # an admin's use adds nothing
    monkeypatch.setenv("HF_ENDPOINT", "http://good.example:8080")
    assert key_environment(Endpoint(GOOD, "m", HUB)) == {HUB: KEY}
    monkeypatch.delenv("HF_ENDPOINT")
    keys.set_hosts(services, HUB, ["good.example"])
    assert open_endpoint(trainer(services), Endpoint(GOOD, "m", HUB)) == {HUB: KEY}
    require_key_host(HUB, "https://huggingface.co")


def test_a_replaced_key_keeps_its_hosts_and_a_removed_one_does_not(services: Services) -> None:
    keys.set_key(services, "A_KEY", KEY, ["good.example", " ", "GOOD.example"])
    assert keys.set_key(services, "A_KEY", "another-key-0123456789").hosts == ("good.example",)
    keys.remove_key(services, "A_KEY")
    keys.set_key(services, "A_KEY", KEY)
    assert refusal(lambda: open_endpoint(trainer(services), Endpoint(GOOD, "m", "A_KEY"))).code == "key_without_host"


def test_a_file_without_hosts_is_an_older_one(services: Services) -> None:
    keys.set_key(services, "A_KEY", KEY)
    key_file().write_bytes(orjson.dumps({"v": 1, "keys": {"A_KEY": KEY}}))
    assert [key.hosts for key in keys.list_keys(services)] == [(), ()]
    assert open_endpoint(services, Endpoint(GOOD, "m", "A_KEY")) == {"A_KEY": KEY}


def test_every_door_that_names_an_endpoint_asks(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written down and no process starts."""
    started: list[object] = []
    monkeypatch.setattr(job.subprocess, "Popen", lambda *words, **_: started.append(words))
    keys.set_key(services, "A_KEY", KEY, ["good.example"])
    tom, stolen = trainer(services), Endpoint(BAD, "m", "A_KEY")
    evaluation = add_evaluation(services.data_dir, 2)
    judged = JobFolders(services.data_dir / EVALUATIONS).create(
        {"kind": "judge", "name": "old", "rules": {}, "variants": [], "judge": {"endpoint": dataclasses.asdict(stolen)}}
    )
    made = JobFolders(services.data_dir / generation.SHELF).create({"rules": {}, "endpoint": dataclasses.asdict(stolen)})
    before = sorted(services.data_dir.rglob("*"))
    rules = JudgeRules(mode="pairwise", rows=2)
    doors = {
        "judge": lambda: judging.start(tom, [LEFT, RIGHT], rules, Judge(stolen), evaluation=evaluation),
        "generate": lambda: synthesis.start(tom, SynthesisRules(count=2), ["A fact."], endpoint=stolen),
        "judge on": lambda: judging.resume(tom, judged),
        "generate on": lambda: synthesis.resume(tom, made),
    }
    for door, enter in doors.items():
        assert refusal(enter).code == "key_not_for_host", door
    assert [path for path in sorted(services.data_dir.rglob("*")) if path not in before and path.is_file()] == []
    assert started == []
