"""The list of experiments in a real browser: search, tag, star, columns, delete several, undo."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import OpenTab, Serve
from tests.e2e.visitor import button, go, tick_rows
from tunesmith.i18n.catalog import t


def totals(page: Page, found: int, total: int) -> Locator:
    return page.get_by_text(t("experiments.totals", n=found, total=total).replace("**", ""))


def test_search_tag_star_columns_delete_and_undo(tmp_path: Path, open_tab: OpenTab, serve: Serve, taught: Path) -> None:
    folder = shutil.copytree(taught, tmp_path / "data")
    server = serve(folder)
    tab = open_tab(width=1400)
    page = go(tab, server, "experiments?order=name&up=1")
    expect(totals(page, 3, 3)).to_be_visible()
    search = page.get_by_role("textbox", name=t("experiments.search"))
    search.fill("haste")
    search.press("Enter")
    expect(totals(page, 1, 3)).to_be_visible()
    tick_rows(page.get_by_test_id("stDataFrame").first, 0)
    button(page, "experiments.star").click()
    expect(button(page, "experiments.unstar")).to_be_visible()
    box = page.get_by_test_id("stMultiSelect").filter(has_text=t("experiments.tags")).locator("input")
    box.fill("short")
    box.press("Enter")
    page.keyboard.press("Escape")  # an open list hides everything else from those who cannot see
    expect(page.get_by_test_id("stMultiSelect").filter(has_text=t("experiments.tags"))).to_contain_text("short")
    tab.shoot("60-experiment-card")
    search.fill("short")
    search.press("Enter")
    expect(page).to_have_url(re.compile("q=short"))
    expect(totals(page, 1, 3)).to_be_visible()
    page.goto(f"{server.address}/experiments?order=name&up=1&starred=0")
    expect(totals(page, 3, 3)).to_be_visible()
    button(page, "experiments.columns").click()
    columns = page.get_by_test_id("stMultiSelect").filter(has_text=t("experiments.columns"))
    columns.locator("input").fill("Learning rate")
    page.get_by_role("option", name="Learning rate", exact=True).click()
    expect(columns).to_contain_text("Learning rate")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    tick_rows(page.get_by_test_id("stDataFrame").first, 0, 1)
    expect(page.get_by_text(t("experiments.selected", n=2)).first).to_be_visible()
    tab.shoot("61-experiments-selected")
    button(page, "common.delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(t("experiments.trash_ask_many", n=2)).first).to_be_visible()
    button(dialog, "common.delete").click()
    expect(page.get_by_text(t("experiments.trashed_many", n=2)).first).to_be_visible()
    expect(totals(page, 1, 1)).to_be_visible()
    button(page, "common.undo").click()
    expect(totals(page, 3, 3)).to_be_visible()
    assert (folder / "views.json").read_text().count("settings.learning_rate") == 1
    assert tab.console_errors == []
