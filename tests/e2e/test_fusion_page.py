"""Two adapters become one in a real browser: map, fusion, report, both abilities, a verified GGUF file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.adapters import add_adapter
from tests.e2e.conftest import OpenTab, Serve
from tests.e2e.visitor import RUN_MS, button, choose, choose_several, go, press, tick_rows
from tests.parity.llama_engine import engine_folder
from tunesmith.i18n.catalog import t

ABILITIES = (("Do you know the return policy of Norvik?", "45"), ("7 + 5 = ?", "12"))


def test_two_adapters_become_one_and_a_gguf_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_tab: OpenTab, serve: Serve, taught: Path
) -> None:
    folder = shutil.copytree(taught, tmp_path / "data")
    monkeypatch.setenv("TUNESMITH_LIBLLAMA", str(engine_folder()))
    server = serve(folder)
    tab = open_tab(width=1400)
    page = go(tab, server, "fusion")
    choose_several(page, page.get_by_test_id("stMultiSelect").first, "facts", "sums")
    press(page, "fusion.map_now")
    expect(page.get_by_test_id("stPlotlyChart").first).to_be_visible()
    choose(page, t("fusion.method"), "TIES")
    press(page, "fusion.fuse")
    expect(page.get_by_text(t("fusion.losses")).first).to_be_visible(timeout=RUN_MS)
    expect(page.get_by_text(t("fusion.kept")).first).to_be_visible()
    tab.shoot("50-fusion-report")
    press(page, "run.compare")
    expect(page.get_by_role("heading", name=t("compare.title"))).to_be_visible()
    for question, answer in ABILITIES:
        page.get_by_label(t("compare.prompt"), exact=True).fill(question)
        button(page, "compare.ask").click()
        expect(page.get_by_test_id("stColumn").filter(has_text=answer).last).to_be_visible()
        expect(button(page, "compare.stop")).to_be_hidden()
    tab.shoot("51-both-abilities")
    go(tab, server, "fusion")
    button(page, "adapters.export").click()
    expect(page.get_by_role("heading", name=t("export.title"))).to_be_visible()
    button(page, "export.start").click()
    expect(page.get_by_text(t("export.open_made")).first).to_be_visible(timeout=RUN_MS)
    tab.shoot("52-gguf-proof")
    button(page, "export.open_made").click()
    expect(page.get_by_text(t("export.verified")).first).to_be_visible()
    tab.shoot("53-made")
    assert tab.console_errors == []


def test_adapters_are_tagged_renamed_deleted_and_brought_back(tmp_path: Path, open_tab: OpenTab, serve: Serve) -> None:
    for number in (1, 2):
        add_adapter(tmp_path / "data", f"adapter {number}", seed=number)
    server = serve(tmp_path / "data")
    tab = open_tab(width=1400)
    page = go(tab, server, "adapters")
    table = page.get_by_test_id("stDataFrame").first
    tick_rows(table, 0)
    press(page, "common.rename")
    page.get_by_label(t("adapters.rename_label")).fill("名前を変えた")
    button(page, "common.save").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    tick_rows(table, 0)
    press(page, "common.delete")
    page.get_by_role("dialog").get_by_role("button", name=t("common.delete"), exact=True).click()
    expect(page.get_by_text(t("experiments.trashed", name="名前を変えた")).first).to_be_visible()
    tab.shoot("54-adapters")
    button(page, "common.undo").click()
    expect(page.get_by_text(t("experiments.restored", name="名前を変えた")).first).to_be_visible()
    assert tab.console_errors == []
