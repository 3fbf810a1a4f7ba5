"""A model comes from the hub in a real browser: found, looked at, downloaded over a broken connection, and a training form opens on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import OpenTab, Serve
from tests.e2e.visitor import button, tick_rows
from tests.hub_models import demo_repository
from tests.loopback_hub import serve_hub
from tunesmith.i18n.catalog import t


def test_a_model_is_found_downloaded_and_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_tab: OpenTab, serve: Serve
) -> None:
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        hub.models["lab/pip"] = demo_repository()
        hub.models["lab/pip-large"] = demo_repository(tags=["safetensors"], gated="manual", downloads=99)
        hub.drops = [2_000_000]
        server = serve(tmp_path / "data")
        tab = open_tab(width=1400)
        page = tab.page
        page.goto(f"{server.address}/settings?view=models")
        page.get_by_role("textbox", name=t("hub.search")).fill("pip")
        page.get_by_test_id("stBaseButton-primaryFormSubmit").click()
        expect(page.get_by_text(t("hub.select")).first).to_be_visible()
        found = page.get_by_test_id("stDataFrame").nth(1)
        tick_rows(found, 1)
        expect(page.get_by_text(t("hub.to_keys")).first).to_be_visible()  # a gated one tells the way
        tick_rows(found, 0)
        expect(button(page, "hub.download")).to_be_visible()
        button(page, "hub.download").click()
        expect(page.get_by_text(t("hub.done", name="lab--pip")).first).to_be_visible()
        assert [wanted for _, wanted in hub.ranges] == ["bytes=1048576-"]
        button(page, "export.train").click()
        expect(page.get_by_label(t("training.yaml"))).to_have_value(re.compile("^model: lab--pip$", re.MULTILINE))
        assert (tab.console_errors, tab.foreign) == ([], [])
