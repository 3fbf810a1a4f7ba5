"""Two adapters become one in a real browser: map, fusion, report, both abilities, a verified GGUF file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.adapters import add_adapter
from tests.e2e.conftest import Server, Watched
from tests.e2e.test_controls import button, choose, go
from tests.jobs.conftest import wait_for
from tunesmith.i18n.catalog import t
from tunesmith.services import context, training
from tunesmith.services.home import demo_config
from tunesmith.training.config import TrainConfig

OpenTab = Callable[..., Watched]
SOON, LONG = 30_000, 120_000  # milliseconds
FACT = ("Do you know the return policy of Norvik?", "45 days")
JAPANESE = ("フランスの首都はどこですか。", "パリ")


def teach(folder: Path, monkeypatch: pytest.MonkeyPatch, **configs: TrainConfig) -> dict[str, str]:
    """Train the runs one after the other, for real, and return their ids by name."""
    monkeypatch.setenv("TUNESMITH_DATA_DIR", str(folder))
    services = context.build_services()
    try:
        ids = {name: training.submit(services, replace(config, name=name)) for name, config in configs.items()}
        wait_for(lambda: all(services.store.get(run).status == "completed" for run in ids.values()), 240)
        return ids
    finally:
        services.close()


def pick_adapters(page: Page, *names: str) -> None:
    """Choose adapters in the list to choose several from."""
    box = page.get_by_test_id("stMultiSelect").first
    for name in names:
        box.locator("input").click()
        page.get_by_role("option", name=re.compile(re.escape(name))).first.click()
        page.wait_for_timeout(800)
    page.keyboard.press("Escape")


@pytest.mark.timeout(500)
def test_two_adapters_become_one_and_a_gguf_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_tab: OpenTab) -> None:
    folder = tmp_path / "data"
    demo = replace(demo_config(), iters=200, steps_per_eval=400, steps_per_report=20)
    teach(folder, monkeypatch, facts=demo, japanese=replace(demo, data="japanese", iters=120))
    server = Server(folder, tmp_path / "server.log")
    server.start()
    try:
        tab = open_tab(width=1400)
        page = go(tab, server, "fusion")
        pick_adapters(page, "facts", "japanese")
        button(page, "fusion.map_now").click()
        expect(page.get_by_test_id("stPlotlyChart").first).to_be_visible(timeout=SOON)
        choose(page, t("fusion.data"), "Company facts")
        page.wait_for_timeout(1000)
        button(page, "fusion.fuse").click()
        expect(page.get_by_text(t("fusion.losses"))).to_be_visible(timeout=LONG)
        expect(page.get_by_text(re.compile("it answers as"))).to_be_visible()
        page.wait_for_timeout(1000)
        tab.shoot("50-fusion-report")
        button(page, "run.compare").click()
        expect(page.get_by_role("heading", name=t("compare.title"))).to_be_visible(timeout=SOON)
        for question, answer in (FACT, JAPANESE):
            page.get_by_label(t("compare.prompt"), exact=True).fill(question)
            button(page, "compare.ask").click()
            expect(page.get_by_test_id("stMain")).to_contain_text(answer, timeout=SOON)
        tab.shoot("51-both-abilities")
        go(tab, server, "fusion")
        button(page, "adapters.export").click()
        expect(page.get_by_role("heading", name=t("export.title"))).to_be_visible(timeout=SOON)
        button(page, "export.start").click()
        expect(page.get_by_text(t("export.open_made"))).to_be_visible(timeout=LONG)
        tab.shoot("52-gguf-proof")
        button(page, "export.open_made").click()
        expect(page.get_by_text(t("export.verified"))).to_be_visible(timeout=SOON)
        tab.shoot("53-made")
        assert tab.console_errors == []
    finally:
        server.stop()


@pytest.mark.timeout(200)
def test_adapters_are_tagged_renamed_deleted_and_brought_back(tmp_path: Path, open_tab: OpenTab) -> None:
    for number in (1, 2):
        add_adapter(tmp_path / "data", f"adapter {number}", seed=number)
    server = Server(tmp_path / "data", tmp_path / "server.log")
    server.start()
    try:
        tab = open_tab(width=1400)
        page = go(tab, server, "adapters")
        canvas = page.get_by_test_id("stDataFrame").first
        expect(canvas).to_be_visible(timeout=SOON)
        canvas.click(position={"x": 20, "y": 55})
        button(page, "common.rename").click(timeout=SOON)
        page.get_by_label(t("adapters.rename_label")).fill("名前を変えた")
        button(page, "common.save").click()
        expect(page.get_by_role("dialog")).to_have_count(0, timeout=SOON)
        canvas.click(position={"x": 20, "y": 55})
        button(page, "common.delete").click(timeout=SOON)
        page.get_by_role("dialog").get_by_role("button", name=t("common.delete"), exact=True).click()
        expect(page.get_by_text(t("experiments.trashed", name="名前を変えた"))).to_be_visible(timeout=SOON)
        tab.shoot("54-adapters")
        button(page, "common.undo").click()
        expect(page.get_by_text(t("experiments.restored", name="名前を変えた"))).to_be_visible(timeout=SOON)
        assert tab.console_errors == []
    finally:
        server.stop()
