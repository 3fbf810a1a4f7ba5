"""Settings in a browser: a theme of one's own that outlives the session, a clean-up with its question, a computer that goes on telling."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.conftest import OpenTab, Serve
from tests.e2e.visitor import DARK, button, choose, drawn
from tunesmith.i18n.catalog import t
from tunesmith.store.run_folder import RunFolder


def test_settings_in_a_browser(taught: Path, tmp_path: Path, open_tab: OpenTab, serve: Serve) -> None:
    data = shutil.copytree(taught, tmp_path / "data")
    runs = [RunFolder(path) for path in sorted((data / "experiments").iterdir())]
    before = {run.path: run.checkpoint_steps() for run in runs}
    assert any(len(steps) > 1 for steps in before.values())
    server = serve(data)
    tab = open_tab(height=1400)
    page = tab.page
    page.goto(f"{server.address}/settings?view=storage")
    page.get_by_role("button", name=t("storage.clean_all", n="2", size="")[:30]).click()
    dialog = page.get_by_role("dialog")
    button(dialog, "storage.clean").hover()
    assert {run.path: run.checkpoint_steps() for run in runs} == before
    button(dialog, "storage.clean").click()
    expect(page.get_by_text("MB freed").first).to_be_visible()
    for run in runs:
        assert run.checkpoint_steps() == before[run.path][-1:]
        assert run.has_adapter()

    page.goto(f"{server.address}/settings?view=computer")
    up = page.get_by_text(t("computer.up", time="").strip())
    expect(up).to_be_visible()
    told = up.inner_text()
    expect(up).not_to_have_text(told)  # it renews itself
    expect(up).to_contain_text(t("computer.pages", n=1))

    page.goto(f"{server.address}/settings")
    choose(page, t("settings.own_theme"), t("choice.theme_dark"))
    page.wait_for_function("document.cookie.includes('tunesmith-theme=dark')")
    page.wait_for_function(DARK)  # the app has loaded its page again by itself
    assert not (data / "settings.yaml").exists()
    drawn(page)
    page.reload()
    page.wait_for_function(DARK)
    other = open_tab().page
    other.goto(f"{server.address}/settings")
    expect(other.get_by_text(t("settings.for_you")).first).to_be_visible()
    drawn(other)
    assert not other.evaluate(DARK)
    assert tab.console_errors == []
    assert tab.foreign == []
