"""Questions to an endpoint, several at a time: each answered once, none ahead of what was dealt with, faults waited out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from tests.judge_double import serve_judge
from tunesmith.errors import UserError
from tunesmith.system.asking import ask_each
from tunesmith.system.endpoint import Endpoint, EndpointClient, Reply, key_environment


class Slow(EndpointClient):
    """Says what it was asked after a while; knows how many ask at the same time."""

    lock = threading.Lock()
    now = most = wanted = 0
    asked: list[str]

    def ask(self, messages: Sequence[dict[str, str]], *_: float) -> Reply:
        with Slow.lock:
            Slow.now += 1
            Slow.most = max(Slow.most, Slow.now)
            Slow.asked.append(messages[0]["content"])
        wait_for(lambda: Slow.most >= Slow.wanted)
        time.sleep(0.01)
        with Slow.lock:
            Slow.now -= 1
        if messages[0]["content"] == "7":
            raise UserError("endpoint_bad_answer", address="", reason="")
        return Reply(messages[0]["content"], 0, 0)


@pytest.fixture
def open_client() -> Callable[[], EndpointClient]:
    Slow.now, Slow.most, Slow.wanted, Slow.asked = 0, 0, 0, []
    return lambda: Slow(Endpoint("http://127.0.0.1:1/v1", "m"), ["127.0.0.1"])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.002)


def questions(count: int) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": str(n)}] for n in range(count)]


def test_each_is_asked_once_and_several_at_a_time(open_client: Callable[[], EndpointClient]) -> None:
    Slow.wanted = 4  # the first ones wait for each other
    found = dict(ask_each(open_client, questions(40), 0.0, 10, 4))
    assert sorted(Slow.asked, key=int) == [str(n) for n in range(40)]
    assert Slow.most == 4
    assert isinstance(found.pop(7), UserError)
    assert {place: reply.text for place, reply in found.items() if isinstance(reply, Reply)} == {n: str(n) for n in range(40) if n != 7}


def test_no_more_are_asked_than_were_dealt_with(open_client: Callable[[], EndpointClient]) -> None:
    replies = ask_each(open_client, questions(40), 0.0, 10, 3)
    for dealt_with in range(5):
        next(replies)
        wait_for(lambda dealt_with=dealt_with: len(Slow.asked) >= 3 + dealt_with)  # type: ignore[misc]
        time.sleep(0.05)  # time enough for one more than there may be
        assert len(Slow.asked) == 3 + dealt_with
    replies.close()  # type: ignore[attr-defined]
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "tunesmith-asking"])
    assert len(Slow.asked) == 7


def test_whoever_waits_is_told_and_may_end_it(open_client: Callable[[], EndpointClient]) -> None:
    class Enough(Exception):
        pass

    def tell() -> None:
        raise Enough

    class Silent(Slow):
        def ask(self, *_: object) -> Reply:
            time.sleep(0.5)
            return Reply("", 0, 0)

    with pytest.raises(Enough):
        list(ask_each(lambda: Silent(Endpoint("http://127.0.0.1:1/v1", "m"), ["127.0.0.1"]), questions(4), 0.0, 10, 2, tell))


def test_threads_that_die_are_no_endless_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_type))

    def broken() -> EndpointClient:
        raise KeyError("a mistake of ours")

    with pytest.raises(RuntimeError, match="log"):
        list(ask_each(broken, questions(3), 0.0, 10, 2))
    assert told == [KeyError, KeyError]


def test_an_endpoint_that_asks_to_wait_is_waited_for() -> None:
    """The double's 429 says one second; by itself the client would wait a hundredth."""
    body = [{"role": "user", "content": "Question 1: left says 1"}]
    with serve_judge(lambda _, before: (429, "later") if before == 0 else (200, "[[A]]…")) as double:
        client = EndpointClient(Endpoint(double.address, "m"), ["127.0.0.1"], wait_seconds=0.01)
        began = time.monotonic()
        reply = client.ask(body, 0.0, 10)
        assert time.monotonic() - began >= 1
        assert reply == Reply("[[A]]…", 300, 40, was_cut=True)
        double.script = lambda *_: (503, "down")
        client = EndpointClient(Endpoint(double.address, "m"), ["127.0.0.1"], wait_seconds=0.01, attempts=2)
        double.asked.clear()
        with pytest.raises(UserError) as caught:
            client.ask(body, 0.0, 10)
        assert (caught.value.code, caught.value.facts["status"], sum(double.asked.values())) == ("endpoint_refused", 503, 2)
        double.wait_seconds = lambda *_: 0.5
        client = EndpointClient(Endpoint(double.address, "m"), ["127.0.0.1"], attempts=1, read_seconds=0.1)
        with pytest.raises(UserError) as caught:
            client.ask(body, 0.0, 10)
        assert (caught.value.code, caught.value.facts["reason"]) == ("endpoint_unreachable", "ReadTimeout")


def test_a_key_that_is_not_there_goes_to_no_worker() -> None:
    assert key_environment(Endpoint("http://h/v1", "m", "NO_KEY")) == key_environment(Endpoint("http://h/v1", "m")) == {}
