"""Curves of a run whose page is opened while the server restarts: what fails is asked for again, nobody has to reload the page."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from playwright.sync_api import Route, expect

from tests.e2e.conftest import OpenTab, Serve
from tests.ended_runs import add_ended_run
from tests.idle_services import idle_services


def test_curves_come_although_the_first_answers_fail(serve: Serve, data_dir: Path, open_tab: OpenTab) -> None:
    with idle_services() as services:
        run_id = add_ended_run(services).id
    server, page, failed = serve(data_dir), open_tab().page, Counter[str]()

    def fail_once(route: Route) -> None:
        name = route.request.url.partition("?")[0].rpartition("/")[2]
        failed[name] += 1
        if failed[name] > 1:
            route.continue_()
        elif name == "plotly.min.js":
            route.abort()
        else:
            route.fulfill(status=503)

    page.route("**/assets/plotly.min.js", fail_once)
    page.route(f"**/live/runs/{run_id}?*", fail_once)
    page.goto(f"{server.address}/training?run={run_id}")
    expect(page.locator(".tunesmith-live .plot")).to_be_visible()
    assert set(failed) == {"plotly.min.js", run_id}
    assert min(failed.values()) > 1
