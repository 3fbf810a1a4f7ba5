"""Addresses are read strictly; a connection goes to the checked number, under the host's own name, and ends in time."""

from __future__ import annotations

import gc
import socket
import ssl
import subprocess
import time
import warnings
from pathlib import Path

import pytest
import requests

from tests.canary import CHAT, Names, answer, listen
from tunesmith.errors import UserError
from tunesmith.system.addresses import AllowedHost, find_allowed, is_public, read_address, read_allowed_host, require_reachable
from tunesmith.system.outgoing import Outgoing


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"), (" HTTP://LocalHost.:8080/v1/ \n", "http://localhost:8080/v1"),
        ("https://api.example.com:443/v1", "https://api.example.com/v1"), ("http://h:80", "http://h"), ("https://h:80", "https://h:80"),
        ("http://[0:0:0:0:0:0:0:1]:9/", "http://[::1]:9"), ("http://[::ffff:10.0.0.1]", "http://10.0.0.1"),
        ("http://bücher.example/a", "http://xn--bcher-kva.example/a"), ("http://straße.example", "http://xn--strae-oqa.example"),
        ("http://１２７．０．０．１:8080", "http://127.0.0.1:8080"), ("http://my_box.lan", "http://my_box.lan"),
        ("https://gateway.example/v1/acc-1/openai/deployments/a:b", "https://gateway.example/v1/acc-1/openai/deployments/a:b"),
    ],
)  # fmt: skip
def test_an_address_has_one_form(text: str, url: str) -> None:
    assert read_address(text).url == url


@pytest.mark.parametrize(
    "text",
    ["", "http://", "h", "http://h:0", "http://h:65536", "http://h:08", "http://h:", "http://h?x", "http://h#x", "http://u@h",
     "http://h/%2e",
     "http://h/../x", "http://h/.", "http://h\\x", "http://a b", "http://127.1", "http://0x7f.1", "http://0177.0.0.1", "http://2130706433",
     "http://1.2.3.4.5", "http://256.1.1.1", "http://a.0x1", "http://[::1", "http://[fe80::1%25lo]", "http://[1.2.3.4]", "http://[v1.x]",
     "http://0.0.0.0", "http://[::]", "http://224.0.0.1", "http://[ff02::1]", "http://255.255.255.255", "http://-a", "http://a-",
     "http://a..b",
     "http://.", f"http://{'a' * 64}.example", f"http://{'a.' * 130}example", f"http://h/{'a' * 2000}", "http://a\u200bb", "ftp://h",
     "http://h\r\nX: y", "http://\u202eh", "http://ａ⁄b"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        read_address(text)
    assert caught.value.code == "endpoint_address_wrong"


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("127.0.0.1", AllowedHost("127.0.0.1")), (" LOCALHOST. ", AllowedHost("localhost")), ("::1", AllowedHost("::1")),
        ("[::1]:9", AllowedHost("::1", 9)), ("h:8080", AllowedHost("h", 8080)), ("judge.lan=192.168.1.5", AllowedHost("judge.lan",
        0, "192.168.1.5")),
        ("judge.lan:80=fd00:0::5", AllowedHost("judge.lan", 80, "fd00::5")), ("::ffff:10.0.0.1", AllowedHost("10.0.0.1")),
    ],
)  # fmt: skip
def test_an_entry_names_host_port_and_number(text: str, entry: AllowedHost) -> None:
    assert read_allowed_host(text) == entry


@pytest.mark.parametrize(
    "text", ["", "*", "*.example", "http://h", "h/v1", "h:", "h:0", "h=", "h=x", "h=127.1", "10.0.0.1=10.0.0.2", "a,b", "0.0.0.0", "h=::",
    "u@h", "10.0.0.0/8"]
)  # fmt: skip
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        read_allowed_host(text)
    assert caught.value.code == "endpoint_host_entry_wrong"


def test_an_entry_allows_its_host_and_port_alone() -> None:
    hosts = ["junk entry", "127.0.0.1:8080", "judge.lan", "JUDGE.lan=10.0.0.5"]
    assert find_allowed(read_address("http://127.0.0.1:8080/v1"), hosts) == AllowedHost("127.0.0.1", 8080)
    assert find_allowed(read_address("http://judge.lan./v1"), hosts).number == "10.0.0.5"
    for other in (
        "http://127.0.0.1",
        "http://127.0.0.1:8081",
        "http://a.judge.lan",
        "http://judge.lan.example",
        "http://10.0.0.5",
        "http://junk",
    ):
        with pytest.raises(UserError) as caught:
            find_allowed(read_address(other), hosts)
        assert caught.value.code == "endpoint_host_not_allowed"


@pytest.mark.parametrize(
    ("number", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("64:ff9b::808:808", True), ("2002:808:808::", True), ("::ffff:8.8.8.8", True),
        ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.0.1", False), ("100.64.0.1", False), ("127.0.0.2", False), ("0.0.0.0", False),
        ("0.1.2.3", False), ("169.254.169.254", False), ("224.0.0.1", False), ("240.0.0.1", False), ("255.255.255.255", False),
        ("198.51.100.1", False), ("::", False), ("::1", False), ("::7f00:1", False), ("fd00:ec2::254", False), ("fe80::1", False),
        ("fe80::1%lo", False), ("fec0::1", False), ("ff02::1", False), ("::ffff:127.0.0.1", False), ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::808:808", False), ("2002:7f00:1::", False), ("2002:a9fe:a9fe::", False), ("2001:db8::1", False), ("2001:0:7f00:1::",
        False),
        ("name", False),
    ],
)  # fmt: skip
def test_a_number_is_of_the_internet_or_not(number: str, public: bool) -> None:
    assert is_public(number) == public


def test_a_name_stands_for_the_internet_and_localhost_for_this_computer() -> None:
    require_reachable(AllowedHost("api.example"), ["8.8.8.8", "2606:4700::1111"])
    require_reachable(AllowedHost("localhost"), ["127.0.0.1", "::1"])
    require_reachable(AllowedHost("x.localhost"), ["127.0.0.1"])
    for host, numbers in (
        ("api.example", ["8.8.8.8", "10.0.0.1"]),
        ("localhost", ["127.0.0.1", "10.0.0.1"]),
        ("xlocalhost", ["127.0.0.1"]),
    ):
        with pytest.raises(UserError) as caught:
            require_reachable(AllowedHost(host), numbers)
        assert caught.value.facts == {"host": host, "found": numbers[-1]}


def ask(outgoing: Outgoing, seconds: float = 10.0, most_bytes: int = 10_000) -> bytes:
    with outgoing.request("GET", "/x", seconds) as found:
        return b"".join(outgoing.pieces(found, most_bytes))


def test_one_connection_and_one_lookup_serve_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    names.answers["judge.localhost"] = [["::1", "127.0.0.1"]]
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with listen(answer(headers=["Set-Cookie: a=b"]), places=("127.0.0.1",)) as server:  # nothing answers at ::1: the next one is tried
        outgoing = Outgoing(f"http://judge.localhost:{server.port}/v1/", ["judge.localhost"], 5)
        assert [ask(outgoing) for _ in range(3)] == [CHAT] * 3
    assert (server.connections, names.asked) == (1, ["judge.localhost"])
    for hit in server.hits:
        assert hit.startswith(b"GET /v1/x HTTP/1.1\r\n")
        assert f"Host: judge.localhost:{server.port}".encode() in hit
        assert b"Cookie" not in hit


def test_an_entry_with_a_number_needs_no_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(["8.8.8.8"])
    monkeypatch.setattr(socket, "getaddrinfo", names)
    with listen(answer()) as server:
        assert ask(Outgoing(f"http://judge.lan:{server.port}", ["judge.lan=127.0.0.1"], 5)) == CHAT
    assert names.asked == []
    assert f"Host: judge.lan:{server.port}".encode() in server.hits[0]


def drip(start: bytes, each: bytes) -> object:
    def send(client: socket.socket, _: bytes) -> None:
        client.sendall(start)
        while True:
            client.sendall(each)
            time.sleep(0.02)

    return send


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("start", "each"),
    [(b"HTTP/1.1 ", b"2"), (OK, b"a"), (OK, b"A: b\r\n"), (b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (OK + b"\r\n", b"x"),
     (OK + b"Content-Length: 9999\r\n\r\n", b"x"),
     (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0")],
)  # fmt: skip
def test_an_answer_that_never_ends_is_cut_off(start: bytes, each: bytes) -> None:
    with listen(drip(start, each), places=("127.0.0.1",)) as server:
        began = time.monotonic()
        with pytest.raises((UserError, requests.RequestException)) as caught:
            ask(Outgoing(f"http://127.0.0.1:{server.port}", ["127.0.0.1"], 5), seconds=0.4)
        assert time.monotonic() - began < 20
    if each != b"A: b\r\n":  # a hundred headers end it sooner
        assert isinstance(caught.value, UserError), caught.value
        assert (caught.value.code, caught.value.facts["limit_seconds"]) == ("endpoint_too_slow", 0.4)


def test_a_cut_off_line_can_be_used_again() -> None:
    slow = [True]

    def script(client: socket.socket, request: bytes) -> None:
        (drip(OK, b"a") if slow[0] else answer())(client, request)  # type: ignore[operator]

    with listen(script, places=("127.0.0.1",)) as server:
        outgoing = Outgoing(f"http://127.0.0.1:{server.port}", ["127.0.0.1"], 5)
        with pytest.raises(UserError):
            ask(outgoing, seconds=0.2)
        slow[0] = False
        assert ask(outgoing, seconds=1.5) == CHAT
        time.sleep(1.6)  # the first one's timer and the second one's are over
        assert ask(outgoing) == CHAT


def test_a_long_answer_is_not_taken_and_its_lines_come_one_by_one() -> None:
    with listen(answer(body=b"one\n\ntwo\nthree")) as server:
        outgoing = Outgoing(f"http://127.0.0.1:{server.port}", ["127.0.0.1"], 5)
        with outgoing.request("GET", "", 5) as found:
            assert list(outgoing.lines(found, 100)) == [b"one", b"", b"two", b"three"]
        with pytest.raises(UserError) as caught:
            ask(outgoing, most_bytes=12)
    assert (caught.value.code, caught.value.facts["most_bytes"]) == ("endpoint_answer_too_large", 12)


def test_nothing_stays_open() -> None:
    with listen(answer()) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        outgoing = Outgoing(f"http://127.0.0.1:{server.port}", ["127.0.0.1"], 5)
        ask(outgoing)
        line = outgoing._line
        handle = line._handle
        assert handle
        assert handle.fileno() >= 0
        del outgoing
        gc.collect()
        assert handle.fileno() == -1


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the key and the certificate of judge.lan, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=judge.lan",
    ]
    names = ["-addext", "subjectAltName=DNS:judge.lan", "-keyout", str(folder / "key"), "-out", str(folder / "cert")]
    try:
        subprocess.run([*command, *names], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    both = folder / "both.pem"
    both.write_text((folder / "key").read_text() + (folder / "cert").read_text())
    return both


def test_tls_asks_for_the_certificate_of_the_name(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    told: list[str | None] = []
    context.sni_callback = lambda _, name, __: told.append(name)

    def serve(client: socket.socket, _: bytes) -> None:
        raise AssertionError  # never in the clear

    with listen(serve, places=("127.0.0.1",)) as server:
        server.wrap = lambda client: context.wrap_socket(client, server_side=True)
        server.script = answer()
        entries = ["judge.lan=127.0.0.1", "other.lan=127.0.0.1", "127.0.0.1"]
        for host in ("judge.lan", "other.lan", "127.0.0.1"):
            outgoing = Outgoing(f"https://{host}:{server.port}", entries, 5)
            with pytest.raises(requests.exceptions.SSLError):  # signed by nobody known
                ask(outgoing)
            outgoing._session.verify = str(certificate)
            if host == "judge.lan":
                assert ask(outgoing) == CHAT
                continue
            with pytest.raises(requests.exceptions.SSLError):
                ask(outgoing)
    assert set(told) == {"judge.lan", "other.lan", None}
    assert len(server.hits) == 1


def test_a_handshake_that_drips_is_cut_off() -> None:
    def wrap(client: socket.socket) -> socket.socket:
        client.sendall(b"\x16\x03\x03\x3f\xff")  # a record of 16 KiB, of which a byte comes at a time
        while True:
            client.sendall(b"\x02")
            time.sleep(0.02)

    with listen(answer(), places=("127.0.0.1",)) as server:
        server.wrap = wrap
        began = time.monotonic()
        with pytest.raises(UserError) as caught:
            ask(Outgoing(f"https://127.0.0.1:{server.port}", ["127.0.0.1"], 5), seconds=0.3)
        assert time.monotonic() - began < 20
    assert caught.value.code == "endpoint_too_slow"
