"""The server dies, the training does not; a second server only looks on."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Server, Watched
from tunesmith.i18n.catalog import t
from tunesmith.store.files import LineTail

OpenTab = Callable[..., Watched]


def steps_written(server: Server) -> int:
    (metrics,) = (server.data_dir / "experiments").glob("*/metrics.jsonl")
    return max((r["step"] for r in LineTail(metrics).read_new()), default=0)


@pytest.mark.timeout(200)
def test_a_killed_server_loses_nothing_and_stop_asks_first(server: Server, open_tab: OpenTab) -> None:
    page = open_tab().page
    page.goto(server.address)
    page.get_by_role("button", name=t("home.demo_button")).click()
    expect(page.locator(".tunesmith-live .plot")).to_be_visible(timeout=60_000)
    address = page.url
    server.kill()
    before = steps_written(server)
    time.sleep(3)
    assert steps_written(server) > before, "the training stopped with its server"

    server.start()
    run_id = address.rpartition("run=")[2]
    began = time.monotonic()
    while b'"active":true' not in urllib.request.urlopen(f"{server.address}/live/runs/{run_id}?since=-1", timeout=5).read():
        assert time.monotonic() - began < 5, "the restarted server does not show the run as live"
    page = open_tab().page
    page.goto(address)
    expect(page.locator(".tunesmith-live .plot")).to_be_visible(timeout=30_000)

    page.get_by_role("button", name=t("run.stop"), exact=True).click()
    page.get_by_role("button", name=t("run.stop_yes")).click()
    expect(page.get_by_text(t("run.ended_cancelled"))).to_be_visible(timeout=30_000)


@pytest.mark.timeout(120)
def test_a_second_server_shows_a_banner(server: Server, open_tab: OpenTab, tmp_path: Path) -> None:
    second = Server(server.data_dir, tmp_path / "second.log")
    second.start()
    try:
        page = open_tab().page
        page.goto(second.address)
        expect(page.get_by_text(t("app.read_only"))).to_be_visible(timeout=30_000)
        expect(page.get_by_role("button", name=t("home.demo_button"))).to_be_disabled()
    finally:
        second.stop()


@pytest.mark.timeout(120)
def test_bad_and_good_uploads(server: Server, open_tab: OpenTab, tmp_path: Path) -> None:
    tab = open_tab()
    page = tab.page
    page.goto(f"{server.address}/dataset")
    page.get_by_text(t("dataset.upload"), exact=True).first.click()
    keep = page.get_by_role("button", name=t("import.keep"), exact=True)
    bad = {
        "empty.jsonl": (b"", t("error.data_file_empty", file="empty.jsonl")),
        "torn.jsonl": (b"not json\n", t("error.data_not_json", file="torn.jsonl")),
    }  # fmt: skip
    for name, (content, words) in bad.items():
        (tmp_path / name).write_bytes(content)
        page.locator("input[type=file]").set_input_files(str(tmp_path / name))
        expect(page.get_by_test_id("stAlert").get_by_text(words)).to_be_visible(timeout=15_000)
        expect(keep).to_be_hidden()
        page.get_by_role("button", name=f"Remove {name}").click()
        expect(page.get_by_test_id("stAlert").get_by_text(words)).to_be_hidden(timeout=15_000)
    (tmp_path / "mine.jsonl").write_text('{"prompt": "Who?", "completion": "The answer of mine."}\n' * 3)
    page.locator("input[type=file]").set_input_files(str(tmp_path / "mine.jsonl"))
    expect(page.get_by_text("The answer of mine.").first).to_be_visible(timeout=15_000)
    expect(keep).to_be_enabled(timeout=15_000)
    keep.click()
    expect(page.get_by_text(t("dataset.uploaded", name="mine", rows=3))).to_be_visible(timeout=15_000)
    assert [p.name for p in (server.data_dir / "datasets").iterdir() if not p.name.startswith(".")] == ["mine"]
    page.get_by_role("button", name=t("dataset.train")).click()
    expect(page.get_by_role("button", name=t("training.start"), exact=True)).to_be_enabled(timeout=30_000)
    assert tab.console_errors == []
