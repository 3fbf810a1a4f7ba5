"""The server dies, the training does not; a second server only looks on."""

from __future__ import annotations

import urllib.request

from playwright.sync_api import expect

from tests.e2e.conftest import OpenTab, Serve, Server
from tests.jobs.conftest import wait_for
from tunesmith.i18n.catalog import t
from tunesmith.store.files import LineTail


def steps_written(server: Server) -> int:
    metrics = (server.data_dir / "experiments").glob("*/metrics.jsonl")
    return max((line["step"] for path in metrics for line in LineTail(path).read_new()), default=0)


def test_a_killed_server_loses_nothing_and_stop_asks_first(server: Server, open_tab: OpenTab) -> None:
    page = open_tab().page
    page.goto(server.address)
    page.get_by_role("button", name=t("home.demo_button")).click()
    expect(page.locator(".tunesmith-live .plot")).to_be_visible()
    address = page.url
    server.kill()
    before = steps_written(server)
    wait_for(lambda: steps_written(server) > before + 10)  # the training did not stop with its server

    server.start()
    run_id = address.rpartition("run=")[2]
    told = f"{server.address}/live/runs/{run_id}?since=-1"
    wait_for(lambda: b'"active":true' in urllib.request.urlopen(told, timeout=5).read(), 20)
    page = open_tab().page
    page.goto(address)
    expect(page.locator(".tunesmith-live .plot")).to_be_visible()

    page.get_by_role("button", name=t("run.stop"), exact=True).click()
    page.get_by_role("button", name=t("run.stop_yes")).click()
    expect(page.get_by_text(t("run.ended_cancelled")).first).to_be_visible()


def test_a_second_server_shows_a_banner(server: Server, serve: Serve, open_tab: OpenTab) -> None:
    page = open_tab().page
    page.goto(serve(server.data_dir).address)
    expect(page.get_by_text(t("app.read_only")).first).to_be_visible()
    expect(page.get_by_role("button", name=t("home.demo_button"))).to_be_disabled()
