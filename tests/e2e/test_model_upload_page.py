"""A trainer on another computer brings a model to a shared server: by a browser, from its own disk, and trains on it."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.conftest import OpenTab
from tests.e2e.visitor import press
from tests.shared_server import shared_server
from tunesmith.access.people import TRAINER
from tunesmith.i18n.catalog import t
from tunesmith.system.paths import DEMO_MODEL

SOON = 30_000  # milliseconds


def test_a_model_is_brought_from_another_computer(tmp_path: Path, open_tab: OpenTab) -> None:
    packed = tmp_path / "mine.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in DEMO_MODEL.iterdir():
            archive.write(path, f"mine/{path.name}")
    (tmp_path / "evil.py").write_text("1/0")
    with shared_server(tmp_path) as (server, file):
        tab = open_tab()
        page = tab.page
        page.goto(f"{server.address}/settings?view=models")
        page.get_by_label(t("login.name")).fill("Ada")
        page.get_by_label(t("login.code")).fill(file.open().codes[TRAINER])
        page.get_by_role("button", name=t("login.enter")).click()
        page.get_by_text(t("model_upload.title")).click()
        name, upload = page.get_by_role("textbox", name=t("model_upload.name")), page.locator(".tunesmith-upload")
        send = upload.get_by_role("button", name=t("model_upload.send"))
        expect(send).to_be_disabled(timeout=SOON)
        name.fill("demo-first")
        name.press("Enter")
        expect(upload.locator("input")).to_be_enabled()
        upload.locator("input").set_input_files([packed, tmp_path / "evil.py"])
        expect(upload.get_by_text(t("model_upload.passed_over", names="evil.py")).first).to_be_visible()
        name.fill("demo-again")
        send.click()  # at once: the page has not been drawn for this name
        expect(page.get_by_text(t("hub.done", name="demo-again")).first).to_be_visible(timeout=SOON)
        expect(name).to_have_value("")
        name.fill("no-model")
        name.press("Enter")
        expect(upload.locator("input")).to_be_enabled()
        upload.locator("input").set_input_files([DEMO_MODEL / "config.json", packed])
        send.click()
        expect(upload.get_by_role("alert")).to_have_text(t("error.upload_of_no_model"))
        tab.shoot("75-model-upload")
        press(page, "export.train")
        expect(page.get_by_label(t("training.yaml"))).to_have_value(re.compile("^model: demo-again$", re.MULTILINE), timeout=SOON)
        assert [line for line in tab.console_errors if not line.startswith(("400 ", "401 "))] == []
        assert tab.foreign == []
