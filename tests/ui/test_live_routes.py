"""What the tabs ask for each second: figures and curves, worked out once for all, and how often to ask."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket
from streamlit.testing.v1 import AppTest

from tests.ui.conftest import add_run
from tunesmith.i18n.catalog import t
from tunesmith.services import queue, runs
from tunesmith.services.audience import Audience
from tunesmith.services.context import Services
from tunesmith.services.shared_answers import SharedAnswers
from tunesmith.ui import routes
from tunesmith.ui.open_tabs import OpenTabs, renewal_seconds


@pytest.fixture
def client(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(routes, "ANSWERS", SharedAnswers())
    monkeypatch.setattr(routes, "AUDIENCE", Audience())
    with TestClient(Starlette(routes=routes.ROUTES, middleware=[Middleware(GZipMiddleware, minimum_size=100)])) as opened:
        yield opened


def header_of(body: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<I", body[:4])
    header: dict[str, Any] = orjson.loads(body[4 : 4 + length])
    return header


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_figures_speak_the_tabs_language(client: TestClient, services: Services, lang: str) -> None:
    run = add_run(services, "running")
    told = client.get(f"/live/runs/{run.id}/figures?lang={lang}").json()
    assert told["tiles"][0][:2] == [t("run.loss", lang), "0.300"]
    assert told["status_words"] == t("status.running", lang)
    assert (told["active"], told["marks"]["stage"]) == (True, "working")


@pytest.mark.parametrize(("accept", "begin"), [("text/html", b"<!doctype html>"), ("*/*", b'{"error":{"code":"job_unknown"')])
def test_a_package_that_is_gone_is_told_to_people_and_programs(client: TestClient, accept: str, begin: bytes) -> None:
    answer = client.get("/downloads/20260101-000000-abcdef", headers={"accept": accept})
    assert (answer.status_code, answer.content[: len(begin)]) == (404, begin)


def test_wrong_questions_are_told(client: TestClient, services: Services) -> None:
    run = add_run(services, "running")
    assert client.get("/live/runs/20260101-000000-abcdef/figures").status_code == 404
    assert client.get("/live/runs/20260101-000000-abcdef").json()["code"] == "run_unknown"
    for wrong in (f"{run.id}/figures?lang=tlh", f"{run.id}?since=what", f"{run.id}?smoothing=1.5", f"{run.id}?smoothing=nan"):
        assert client.get(f"/live/runs/{wrong}").status_code == 400, wrong


def test_curves_come_once_for_each_revision(client: TestClient, services: Services) -> None:
    run = add_run(services, "running")
    answer = client.get(f"/live/runs/{run.id}?since=-1")
    header = header_of(answer.content)
    assert header["rev"] == 11
    assert header["active"]
    assert client.get(f"/live/runs/{run.id}?since=11").status_code == 204
    with services.store.folder(run.id).metrics.open("ab") as metrics:
        metrics.write(b'{"attempt":1,"step":11,"train_loss":0.25}\n')
    client.portal.call(lambda: routes.ANSWERS._kept.clear())  # type: ignore[union-attr]
    assert header_of(client.get(f"/live/runs/{run.id}?since=11").content)["rev"] == 12
    services.store.transition(services.store.get(run.id), "completed")
    client.portal.call(lambda: routes.ANSWERS._kept.clear())  # type: ignore[union-attr]
    ended = client.get(f"/live/runs/{run.id}?since=12")
    assert (ended.status_code, header_of(ended.content)["active"]) == (200, False)


def test_many_tabs_cost_one_reading(client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty tabs in half a second: at most three looks of a quarter second each at figures and revision, and one packing of the curves."""
    run = add_run(services, "running")
    calls = {"snapshot": 0, "series_state": 0, "pack_series": 0}

    def counting(name: str) -> Callable[..., Any]:
        real = getattr(runs, name)

        def call(*arguments: Any) -> Any:
            calls[name] += 1
            return real(*arguments)

        return call

    for name in calls:
        monkeypatch.setattr(runs, name, counting(name))
    paths = [f"/live/runs/{run.id}?since=-1", f"/live/runs/{run.id}/figures?lang=en"] * 20
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(client.get, paths))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers[::2]}) == 1
    assert calls["pack_series"] == 1
    assert 1 <= calls["snapshot"] <= 3
    assert 1 <= calls["series_state"] <= 3


def test_answers_are_not_packed_again_for_each(client: TestClient, services: Services) -> None:
    run = add_run(services, "running")
    for path in (f"/live/runs/{run.id}", f"/live/runs/{run.id}/figures"):
        answer = client.get(path, headers={"accept-encoding": "gzip"})
        assert answer.headers["content-encoding"] == "identity"
        assert int(answer.headers["content-length"]) == len(answer.content) > 100


def test_answers_tell_how_soon_to_ask_again(client: TestClient, services: Services) -> None:
    run = add_run(services, "running")
    path = f"/live/runs/{run.id}/figures?viewer=me"
    alone = client.get(path).headers
    assert (alone["x-every-ms"], alone["x-spread-ms"]) == ("1000", "60")
    for number in range(300):
        routes.AUDIENCE.see(str(number))
    routes.AUDIENCE._counted = (0.0, 0)
    crowded = client.get(path).headers
    assert (crowded["x-every-ms"], crowded["x-spread-ms"]) == ("2000", f"{301 * 60}")


def test_open_tabs_are_counted_and_slow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hold(socket: WebSocket) -> None:
        await socket.accept()
        await socket.receive_text()

    before = OpenTabs.count
    client = TestClient(Starlette(routes=[WebSocketRoute("/tab", hold)], middleware=[Middleware(OpenTabs)]))
    with client.websocket_connect("/tab") as one, client.websocket_connect("/tab") as two:
        assert OpenTabs.count == before + 2
        one.send_text("bye")
        two.send_text("bye")
    assert OpenTabs.count == before
    paces = []
    for count in (1, 10, 40):
        monkeypatch.setattr(OpenTabs, "count", count)
        paces.append(renewal_seconds(0.5))
    assert paces == [0.5, 0.5, 2.0]


def test_the_queue_is_drawn_anew_when_it_looks_otherwise(open_page: Callable[..., AppTest], client: TestClient, services: Services) -> None:
    run = add_run(services, "running")
    marks = client.get("/live/queue").json()["marks"]
    assert watched(open_page("training", view="queue")) == watched(open_page("home")) == [marks]
    seen = [marks]

    def look() -> None:
        client.portal.call(lambda: routes.ANSWERS._kept.clear())  # type: ignore[union-attr]
        seen.append(client.get("/live/queue").json()["marks"])

    with services.store.folder(run.id).metrics.open("ab") as metrics:
        metrics.write(b'{"attempt":1,"step":11,"train_loss":0.25}\n')
    look()
    waiting = add_run(services, "queued")
    look()
    queue.set_priority(services, waiting.id, 1)
    look()
    services.store.transition(services.store.get(run.id), "completed")
    look()
    assert len({each["queue"] for each in seen}) == 5
    look()
    assert seen[-1] == seen[-2]


def watched(app: AppTest) -> list[dict[str, Any]]:
    """Return the marks of the page's parts that are drawn anew when those change."""
    return [data["marks"] for e in app.get("bidi_component") if (data := orjson.loads(e.proto.json)).get("marks")]


def test_a_page_knows_what_it_shows(open_page: Callable[..., AppTest], services: Services) -> None:
    """A going run: its details by the events' bytes, the page by its stage. An ended one: the page alone."""
    run = add_run(services, "running")
    events = services.store.folder(run.id).events.stat().st_size
    assert watched(open_page("training", run=run.id)) == [{"events": events}, {"stage": "working"}]
    ended = add_run(services, "failed")
    assert watched(open_page("training", run=ended.id)) == [{"stage": "ended"}]
