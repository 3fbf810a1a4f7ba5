"""Tricks with addresses, names, redirects, answers at every entry that takes an address: nothing but the allowed host is reached."""

from __future__ import annotations

import dataclasses
import gzip
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.canary import Listener, Names, Script, answer, listen
from tests.fuzz.outgoing_tricks import HONEST, HOSTS, INSIDE, LOCATIONS, TRICKS
from tests.idle_services import idle_services
from tunesmith.data.synthesis import SynthesisRules
from tunesmith.errors import UserError
from tunesmith.evaluation.judging import JudgeRules
from tunesmith.export.ollama_client import OllamaClient
from tunesmith.i18n.catalog import error_words
from tunesmith.jobs import generation_worker
from tunesmith.services import ollama, synthesis, system
from tunesmith.services.context import Services
from tunesmith.services.endpoints import open_endpoint
from tunesmith.system import endpoint as endpoint_module
from tunesmith.system.endpoint import Endpoint, EndpointClient

REFUSED = {"endpoint_address_wrong", "endpoint_host_not_allowed"}
QUESTION = [{"role": "user", "content": "?"}]
Ask = Callable[[Services, str, Sequence[str]], object]


@dataclasses.dataclass
class World:
    """An allowed server, a canary on every other port that is asked, the names, and every number outside loopback that was tried."""

    honest: Listener
    canary: Listener
    names: Names
    tried: list[str]
    waits: list[float]

    @property
    def hosts(self) -> list[str]:
        return [host.format(honest=self.honest.port) for host in HOSTS]

    def fill(self, text: str) -> str:
        return text.format(honest=self.honest.port, canary=self.canary.port, long="a" * 3000, labels="a." * 200)


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch, tried: list[str]) -> None:
    """All of loopback is open, since that is what must not be reached; the internet refuses, and is told."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1", "::ffff:127.", "0.0.0.0")) and address[0] != "::":
            tried.append(address[0])
            raise ConnectionRefusedError
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def tried() -> list[str]:
    return []


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tried: list[str]) -> Iterator[World]:
    names, waits = Names(["127.0.0.1"]), list[float]()  # whoever owns the names lets all of them stand for this computer
    names.answers["localhost"] = [["127.0.0.1"]]
    monkeypatch.setattr(socket, "getaddrinfo", names)
    monkeypatch.setattr(endpoint_module, "time", SimpleNamespace(sleep=waits.append))
    with listen(answer()) as honest, listen() as canary:
        yield World(honest, canary, names, tried, waits)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_DATA_DIR", str(tmp_path_factory.mktemp("store")))
        with idle_services() as opened:
            yield opened


def allow(s: Services, hosts: Sequence[str], **changes: Any) -> None:
    s.kept.settings = dataclasses.replace(s.kept.settings, endpoint_hosts=tuple(hosts), **changes)


def check_synthesis(s: Services, address: str, hosts: Sequence[str]) -> object:
    allow(s, hosts)
    return synthesis.start(s, SynthesisRules(count=1), ["a"], endpoint=Endpoint(address, "m"))


def ask_synthesis(s: Services, address: str, hosts: Sequence[str]) -> object:
    request = {"endpoint": dataclasses.asdict(Endpoint(address, "m")), "allowed_hosts": list(hosts)}
    return generation_worker._open_model(request, SynthesisRules())(QUESTION, 1)


def check_judge(s: Services, address: str, hosts: Sequence[str]) -> object:
    allow(s, hosts)
    return open_endpoint(s, Endpoint(address, "m"))


def ask_judge(s: Services, address: str, hosts: Sequence[str]) -> object:
    """Ask as the judging job does, but in this thread: its errors are told as they are."""
    return EndpointClient(Endpoint(address, "m"), list(hosts), attempts=JudgeRules().attempts, read_seconds=5).ask(QUESTION, 0.0, 5)


def ask_ollama(s: Services, address: str, hosts: Sequence[str]) -> object:
    return OllamaClient(address, list(hosts)).version()


def ask_ollama_of_settings(s: Services, address: str, hosts: Sequence[str]) -> object:
    allow(s, hosts, ollama_url=address)
    return ollama.models(s)


def save_ollama(s: Services, address: str, hosts: Sequence[str]) -> object:
    allow(s, hosts)
    before = s.settings.ollama_url
    saved = False
    try:
        system.save_settings(s, ollama_url=address, endpoint_hosts=list(hosts))
        saved = True
    finally:
        assert saved or s.settings.ollama_url == before
    return None


CHECKS: dict[str, Ask] = {"synthesis form": check_synthesis, "judge form": check_judge, "settings": save_ollama}
ASKS: dict[str, Ask] = {
    "synthesis": ask_synthesis,
    "judge": ask_judge,
    "ollama": ask_ollama,
    "ollama of the settings": ask_ollama_of_settings,
}


def refusal(ask: Ask, s: Services, address: str, hosts: Sequence[str]) -> str:
    """Return the code of the refusal, whose words are there in both languages; empty where there was none."""
    try:
        ask(s, address, hosts)
        return ""
    except UserError as error:
        found = error
    assert all(error_words(found.code, found.facts, lang) for lang in ("en", "ja"))
    return found.code


@pytest.mark.parametrize("entry", CHECKS | ASKS)
def test_no_address_reaches_what_is_not_allowed(services: Services, world: World, entry: str) -> None:
    ask = (CHECKS | ASKS)[entry]
    assert len(set(TRICKS)) == len(TRICKS) > 100
    codes = {trick: refusal(ask, services, world.fill(trick), world.hosts) for trick in TRICKS}
    assert {trick: code for trick, code in codes.items() if code not in REFUSED} == {}
    assert (world.canary.connections, world.honest.connections, world.names.asked, world.tried) == (0, 0, [], [])


@pytest.mark.parametrize("entry", ASKS)
def test_honest_addresses_are_asked(services: Services, world: World, entry: str) -> None:
    assert len(HONEST) > 10
    for text, host in HONEST:
        before = len(world.honest.hits)
        assert refusal(ASKS[entry], services, world.fill(text), world.hosts) == "", text
        assert len(world.honest.hits) == before + 1
        assert f"\r\nHost: {host}:{world.honest.port}\r\n".encode() in world.honest.hits[-1]
    assert world.canary.connections == 0


def test_honest_settings_are_saved(services: Services, world: World) -> None:
    for text, _ in HONEST:
        assert refusal(save_ollama, services, world.fill(text), world.hosts) == "", text
        assert refusal(check_judge, services, world.fill(text), world.hosts) == "", text


@pytest.mark.parametrize("entry", ASKS)
def test_an_allowed_name_leads_to_nothing_inside_a_network(services: Services, world: World, entry: str) -> None:
    for numbers in INSIDE:
        world.names.answers["judge.example"] = [numbers]
        code = refusal(ASKS[entry], services, f"http://judge.example:{world.canary.port}/v1", world.hosts)
        assert code == "endpoint_private_address", numbers
    assert (world.canary.connections, world.honest.connections, world.tried) == (0, 0, [])


@pytest.mark.parametrize("entry", ASKS)
def test_a_name_that_changes_between_check_and_connection_changes_nothing(services: Services, world: World, entry: str) -> None:
    """The first answer is of the internet, and that very number is connected to; each later lookup is checked as the first one was."""
    for later in (["127.0.0.1"], ["127.0.0.2"], ["::1"], ["0.0.0.0"]):
        world.names.answers["judge.example"] = [["93.184.215.14"], later]
        world.tried.clear()
        code = refusal(ASKS[entry], services, f"http://judge.example:{world.canary.port}/v1", world.hosts)
        assert code in {"endpoint_private_address", "ollama_not_running"}
        assert world.tried == ["93.184.215.14"]
    assert world.canary.connections == 0


def test_localhost_is_this_computer_and_a_given_number_is_not_looked_up(services: Services, world: World) -> None:
    world.names.answers |= {"localhost": [["10.0.0.1"]], "judge.lan": [["10.0.0.2"]]}
    assert refusal(ask_judge, services, f"http://localhost:{world.honest.port}", world.hosts) == "endpoint_private_address"
    assert refusal(ask_judge, services, f"http://judge.lan:{world.honest.port}", world.hosts) == ""
    assert "judge.lan" not in world.names.asked
    assert (len(world.honest.hits), world.tried) == (1, [])


@pytest.mark.parametrize("entry", ASKS)
def test_no_redirect_is_followed(services: Services, world: World, entry: str) -> None:
    address = f"http://127.0.0.1:{world.honest.port}/v1"
    for status in ("300 Many", "301 Moved", "302 Found", "303 See", "304 Same", "305 Proxy", "307 Temporary", "308 Permanent"):
        for location in LOCATIONS:
            world.honest.script = answer(status, [f"Location: {world.fill(location)}", "Connection: close"], b"")
            assert refusal(ASKS[entry], services, address, world.hosts) == "endpoint_redirects"
    assert len(world.honest.hits) == 8 * len(LOCATIONS)
    for header in (
        "Refresh: 0;url=http://127.0.0.1:{canary}/",
        "Link: <http://127.0.0.1:{canary}/>; rel=next",
        'Alt-Svc: http/1.1="127.0.0.1:{canary}"',
    ):
        world.honest.script = answer(headers=[world.fill(header), "Connection: close"])
        for _ in range(2):
            assert refusal(ASKS[entry], services, address, world.hosts) == ""
    page = world.fill('<meta http-equiv="refresh" content="0;url=http://127.0.0.1:{canary}/">').encode()
    world.honest.script = answer(headers=["Content-Type: text/html"], body=page)
    assert refusal(ASKS[entry], services, address, world.hosts) in {"endpoint_bad_answer", "ollama_bad_answer"}
    assert world.canary.connections == 0


def bomb(encoding: str) -> Script:
    return answer(headers=[f"Content-Encoding: {encoding}"], body=gzip.compress(b"0" * 50_000_000, 9))


def endless(client: socket.socket, _: bytes) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        client.sendall(b"0" * 1_000_000)


@pytest.mark.parametrize("entry", ASKS)
@pytest.mark.parametrize(
    ("script", "codes"),
    [
        (bomb("gzip"), {"endpoint_answer_packed"}), (bomb("x-gzip"), {"endpoint_answer_packed"}), (bomb("br, gzip"),
        {"endpoint_answer_packed"}),
        (answer(headers=["Content-Encoding: zstd"]), {"endpoint_answer_packed"}), (endless, {"endpoint_answer_too_large"}),
        (answer(headers=["X: " + "y" * 70_000]), {"endpoint_unreachable", "ollama_not_running"}),
        (answer(headers=[f"X-{n}: y" for n in range(200)]), {"endpoint_unreachable", "ollama_not_running"}),
        (answer(status="200 OK\r\nContent-Length: 5"), {"", "endpoint_unreachable", "ollama_not_running", "ollama_broke_off",
        "endpoint_bad_answer", "ollama_bad_answer"}),
        (answer(status="401 No", headers=["WWW-Authenticate: Basic realm=x"]), {"endpoint_refused", "ollama_refused"}),
        (answer(status="407 No", headers=["Proxy-Authenticate: Basic realm=x"]), {"endpoint_refused", "ollama_refused"}),
        (answer(body=b"[" * 100_000), {"endpoint_bad_answer", "ollama_bad_answer"}),
        (lambda client, _: client.close(), {"endpoint_unreachable", "ollama_not_running"}),
    ],
)  # fmt: skip
def test_no_answer_does_harm(services: Services, world: World, entry: str, script: Script, codes: set[str]) -> None:
    world.honest.script = script
    began = time.monotonic()
    assert refusal(ASKS[entry], services, f"http://127.0.0.1:{world.honest.port}", world.hosts) in codes
    assert time.monotonic() - began < 20
    assert world.canary.connections == 0


@pytest.mark.parametrize("told", ["99999999999", "9" * 5000, "-1", "nan", "inf", "1e9", "٣", "Fri, 31 Dec 2999 23:59:59 GMT", "", "60, 60"])
def test_no_endpoint_makes_us_wait_long(services: Services, world: World, told: str) -> None:
    world.honest.script = lambda client, _: client.sendall(
        b"HTTP/1.1 429 Busy\r\nContent-Length: 0\r\nRetry-After: " + told.encode() + b"\r\n\r\n"
    )
    assert refusal(ask_synthesis, services, f"http://127.0.0.1:{world.honest.port}", world.hosts) == "endpoint_refused"
    assert len(world.waits) == 3
    assert all(0 < wait <= 60 for wait in world.waits)


@pytest.mark.parametrize("name", ["m\r\nHost: evil", 'm"}\r\n\r\nGET / HTTP/1.1\r\n\r\n', "m\x00", "m\u2028", "../../x", "\ud83d"])
def test_a_name_of_a_model_stays_in_the_body(services: Services, world: World, name: str) -> None:
    try:
        EndpointClient(Endpoint(f"http://127.0.0.1:{world.honest.port}", name), world.hosts, attempts=1).ask(QUESTION, 0.0, 5)
        OllamaClient(f"http://127.0.0.1:{world.honest.port}", world.hosts).show(name)
    except UserError as error:
        assert error.code in {"endpoint_bad_answer", "ollama_name_wrong"}  # noqa: PT017
    for hit in world.honest.hits:
        head = hit.partition(b"\r\n\r\n")[0]
        assert b"evil" not in head
        assert head.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("key", ["k\r\nHost: evil", "k\nX: y", "k\x00", "k\x7f", "k\r\n\r\nGET / HTTP/1.1"])
def test_a_key_adds_no_headers(services: Services, world: World, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr(endpoint_module, "find_key", lambda _: key)  # as if nothing had looked at it
    try:
        EndpointClient(Endpoint(f"http://127.0.0.1:{world.honest.port}", "m", "JUDGE_KEY"), world.hosts, attempts=1).ask(QUESTION, 0.0, 5)
    except UserError as error:
        assert error.code == "endpoint_unreachable"  # noqa: PT017
    for hit in world.honest.hits:
        assert hit.partition(b"\r\n\r\n")[0].count(b"\r\nHost:") == 1
        assert b"\r\nX:" not in hit


def test_the_key_goes_to_the_allowed_host_alone(services: Services, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(endpoint_module, "find_key", lambda _: "sk-secret")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n", encoding="utf-8")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{world.canary.port}")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    asked = Endpoint(f"http://127.0.0.1:{world.honest.port}", "m", "JUDGE_KEY")
    assert EndpointClient(asked, world.hosts).ask(QUESTION, 0.0, 5).text == "good"
    assert OllamaClient(asked.address, world.hosts).list_models() == []
    assert [b"Bearer sk-secret" in hit for hit in world.honest.hits] == [True, False]
    assert not any(b"Basic" in hit for hit in world.honest.hits)
    assert world.canary.connections == 0


@pytest.mark.parametrize(
    "host",
    ["*", "0.0.0.0", "::", "http://127.0.0.1", "127.0.0.1/v1", "a b", "10.0.0.0/8", "127.1", "x=y", "u@h", "a\r\nb", "224.0.0.1", ""],
)
def test_what_is_no_host_is_not_allowed_by_the_settings(services: Services, world: World, host: str) -> None:
    with pytest.raises(UserError) as caught:
        system.save_settings(services, endpoint_hosts=[host])
    assert caught.value.code == "endpoint_host_entry_wrong"
