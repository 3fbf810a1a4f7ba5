"""Settings in a browser: a theme of one's own that outlives the session, a clean-up with its question, a computer that goes on telling."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.e2e.conftest import Server, Watched
from tunesmith.i18n.catalog import t
from tunesmith.store.run_folder import RunFolder


def test_settings_in_a_browser(taught: Path, tmp_path: Path, browser: Browser) -> None:
    data = tmp_path / "data"
    shutil.copytree(taught, data)
    runs = [RunFolder(path) for path in sorted((data / "experiments").iterdir())]
    before = {run.path: run.checkpoint_steps() for run in runs}
    assert any(len(steps) > 1 for steps in before.values())
    server = Server(data, tmp_path / "server.log")
    server.start()
    context = browser.new_context(viewport={"width": 1280, "height": 1400}, color_scheme="light", locale="en-US")
    try:
        watched = Watched(context)
        page = watched.page
        page.goto(f"{server.address}/settings?view=storage")
        page.get_by_role("button", name=t("storage.clean_all", n="2", size="")[:30]).click()
        dialog = page.get_by_role("dialog")
        assert {run.path: run.checkpoint_steps() for run in runs} == before
        dialog.get_by_role("button", name=t("storage.clean")).click()
        expect(page.get_by_text("MB freed")).to_be_visible()
        for run in runs:
            assert run.checkpoint_steps() == before[run.path][-1:]
            assert run.has_adapter()

        page.goto(f"{server.address}/settings?view=computer")
        up = page.get_by_text(t("computer.up", time="").strip())
        expect(up).to_be_visible()
        told = up.inner_text()
        expect(up).not_to_have_text(told)  # it renews itself
        assert f"{t('computer.pages', n=1)}" in up.inner_text()

        page.goto(f"{server.address}/settings")
        page.get_by_role("combobox", name=t("settings.own_theme")).click()
        page.get_by_role("option", name=t("choice.theme_dark")).click()
        page.wait_for_function("document.cookie.includes('tunesmith-theme=dark')")
        assert not (data / "settings.yaml").exists()
        other = Watched(browser.new_context(color_scheme="light", locale="en-US"))
        for tab, is_dark in ((page, True), (other.page, False)):
            tab.goto(f"{server.address}/settings")
            expect(tab.get_by_text(t("settings.for_you"))).to_be_visible()
            background = tab.get_by_test_id("stApp").evaluate("node => getComputedStyle(node).backgroundColor")
            light = sum(int(part) for part in background.removeprefix("rgb(").removesuffix(")").split(",")) > 380
            assert light is not is_dark, background
        assert watched.console_errors == []
        assert watched.foreign == []
    finally:
        context.close()
        server.stop()
