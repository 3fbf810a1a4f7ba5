"""The list of experiments in a real browser: search, tag, star, columns, delete several, undo."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import Server, Watched
from tests.e2e.test_controls import button, go
from tunesmith.i18n.catalog import t

OpenTab = Callable[..., Watched]
SOON = 30_000  # milliseconds
HEADER, ROW = 36, 35  # pixels


def totals(page: Page, found: int, total: int) -> Locator:
    return page.get_by_text(t("experiments.totals", n=found, total=total).replace("**", ""))


def select_rows(page: Page, *places: int) -> None:
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    assert box is not None
    for place in places:
        page.mouse.click(box["x"] + 16, box["y"] + HEADER + ROW * place + ROW / 2)


def test_search_tag_star_columns_delete_and_undo(tmp_path: Path, open_tab: OpenTab, taught: Path) -> None:
    folder = shutil.copytree(taught, tmp_path / "data")
    server = Server(folder, tmp_path / "server.log")
    server.start()
    try:
        tab = open_tab(width=1400)
        page = go(tab, server, "experiments?order=name&up=1")
        expect(totals(page, 3, 3)).to_be_visible(timeout=SOON)
        search = page.get_by_role("textbox", name=t("experiments.search"))
        search.fill("haste")
        search.press("Enter")
        expect(totals(page, 1, 3)).to_be_visible(timeout=SOON)
        page.wait_for_timeout(500)
        select_rows(page, 0)
        button(page, "experiments.star").click()
        expect(button(page, "experiments.unstar")).to_be_visible(timeout=SOON)
        box = page.get_by_test_id("stMultiSelect").filter(has_text=t("experiments.tags")).locator("input")
        box.fill("short")
        box.press("Enter")
        page.keyboard.press("Escape")  # an open list hides everything else from those who cannot see
        expect(page.get_by_test_id("stMultiSelect").filter(has_text=t("experiments.tags"))).to_contain_text("short")
        tab.shoot("60-experiment-card")
        search.fill("short")
        search.press("Enter")
        expect(page).to_have_url(re.compile("q=short"), timeout=SOON)
        expect(totals(page, 1, 3)).to_be_visible(timeout=SOON)
        page.goto(f"{server.address}/experiments?order=name&up=1&starred=0")
        expect(totals(page, 3, 3)).to_be_visible(timeout=SOON)
        button(page, "experiments.columns").click()
        columns = page.get_by_test_id("stMultiSelect").filter(has_text=t("experiments.columns"))
        columns.locator("input").fill("Learning rate")
        page.get_by_role("option", name="Learning rate", exact=True).click()
        expect(columns).to_contain_text("Learning rate")
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        page.wait_for_timeout(800)
        select_rows(page, 0, 1)
        expect(page.get_by_text(t("experiments.selected", n=2))).to_be_visible(timeout=SOON)
        tab.shoot("61-experiments-selected")
        button(page, "common.delete").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text(t("experiments.trash_ask_many", n=2))).to_be_visible(timeout=SOON)
        button(dialog, "common.delete").click()
        expect(page.get_by_text(t("experiments.trashed_many", n=2))).to_be_visible(timeout=SOON)
        expect(totals(page, 1, 1)).to_be_visible()
        button(page, "common.undo").click()
        expect(totals(page, 3, 3)).to_be_visible(timeout=SOON)
        assert (folder / "views.json").read_text().count("settings.learning_rate") == 1
        assert tab.console_errors == []
    finally:
        server.stop()
