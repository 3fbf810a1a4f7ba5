"""A model comes from the hub in a real browser: found, looked at, downloaded over a broken connection, and a training form opens on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Server, Watched
from tests.e2e.test_controls import button
from tests.hub_models import demo_repository
from tests.loopback_hub import serve_hub
from tunesmith.i18n.catalog import t

SOON = 30_000  # milliseconds
CHECKBOX, ROW = (18, 18), 35  # pixels: the middle of a row's checkbox, a row's height


def select_row(page: Page, table: int, row: int) -> None:
    """Select a row of a table by its checkbox, the first row under the heading is 0."""
    grid = page.get_by_test_id("stDataFrame").nth(table)
    grid.scroll_into_view_if_needed()
    box = grid.bounding_box()
    assert box
    page.mouse.click(box["x"] + CHECKBOX[0], box["y"] + CHECKBOX[1] + ROW * (row + 1))


def test_a_model_is_found_downloaded_and_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_tab: Callable[..., Watched]
) -> None:
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        hub.models["lab/pip"] = demo_repository()
        hub.models["lab/pip-large"] = demo_repository(tags=["safetensors"], gated="manual", downloads=99)
        hub.drops = [2_000_000]
        server = Server(tmp_path / "data", tmp_path / "server.log")
        server.start()
        try:
            tab = open_tab(width=1400)
            page = tab.page
            page.goto(f"{server.address}/settings?view=models")
            page.get_by_role("textbox", name=t("hub.search")).fill("pip")
            page.get_by_test_id("stBaseButton-primaryFormSubmit").click()
            expect(page.get_by_text(t("hub.select"))).to_be_visible(timeout=SOON)
            select_row(page, 1, 1)
            expect(page.get_by_text(t("hub.to_keys"))).to_be_visible(timeout=SOON)  # a gated one tells the way
            select_row(page, 1, 0)
            expect(button(page, "hub.download")).to_be_visible(timeout=SOON)
            button(page, "hub.download").click()
            expect(page.get_by_text(t("hub.done", name="lab--pip"))).to_be_visible(timeout=SOON)
            assert [wanted for _, wanted in hub.ranges] == ["bytes=1048576-"]
            button(page, "export.train").click()
            expect(page.get_by_label(t("training.yaml"))).to_have_value(re.compile("^model: lab--pip$", re.MULTILINE), timeout=SOON)
            assert (tab.console_errors, tab.foreign) == ([], [])
        finally:
            server.stop()
