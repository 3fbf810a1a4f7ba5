"""Two adapters become one in a real browser: map, fusion, report, both abilities, a verified GGUF file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.adapters import add_adapter
from tests.e2e.conftest import Server, Watched
from tests.e2e.test_controls import button, choose, go
from tests.parity.llama_engine import engine_folder
from tunesmith.i18n.catalog import t

OpenTab = Callable[..., Watched]
SOON, LONG = 30_000, 120_000  # milliseconds
ABILITIES = (("Do you know the return policy of Norvik?", "45"), ("7 + 5 = ?", "12"))


def pick_adapters(page: Page, *names: str) -> None:
    """Choose adapters in the list to choose several from."""
    box = page.get_by_test_id("stMultiSelect").first
    for name in names:
        box.locator("input").fill(name)
        page.get_by_role("option").filter(has_text=name).first.click()
        expect(box).to_contain_text(name)
        page.wait_for_timeout(800)
    page.keyboard.press("Escape")


@pytest.mark.timeout(500)
def test_two_adapters_become_one_and_a_gguf_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_tab: OpenTab, taught: Path) -> None:
    folder = shutil.copytree(taught, tmp_path / "data")
    monkeypatch.setenv("TUNESMITH_LIBLLAMA", str(engine_folder()))
    server = Server(folder, tmp_path / "server.log")
    server.start()
    try:
        tab = open_tab(width=1400)
        page = go(tab, server, "fusion")
        pick_adapters(page, "facts", "sums")
        button(page, "fusion.map_now").click()
        expect(page.get_by_test_id("stPlotlyChart").first).to_be_visible(timeout=SOON)
        choose(page, t("fusion.method"), "TIES")
        page.wait_for_timeout(1000)
        button(page, "fusion.fuse").click()
        expect(page.get_by_text(t("fusion.losses"))).to_be_visible(timeout=LONG)
        expect(page.get_by_text(t("fusion.kept"))).to_be_visible()
        page.wait_for_timeout(1000)
        tab.shoot("50-fusion-report")
        button(page, "run.compare").click()
        expect(page.get_by_role("heading", name=t("compare.title"))).to_be_visible(timeout=SOON)
        for question, answer in ABILITIES:
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
