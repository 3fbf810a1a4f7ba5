"""A trained run is taken along and brought back in a real browser: its report opens as a page of its own, its package comes in again."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import PICTURES, SCREENSHOTS, OpenTab, Serve
from tests.e2e.visitor import button, go, press
from tunesmith.i18n.catalog import t
from tunesmith.jobs.run_environment import record_environment
from tunesmith.store.experiments import ExperimentStore


def download(page: Page, pressed: Locator, target: Path) -> Path:
    with page.expect_download() as found:
        pressed.click()
    found.value.save_as(target)
    return target


def test_a_run_is_taken_along_and_comes_back(tmp_path: Path, open_tab: OpenTab, serve: Serve, taught: Path, browser: Browser) -> None:
    folder = shutil.copytree(taught, tmp_path / "data")
    store = ExperimentStore(folder)
    run = next(each for each in store.all()[0] if each.name == "facts")
    best = re.compile(rf"{run.summary['best_val_loss']:.3f}")
    record_environment(store.folder(run.id), run.__dict__, "openblas")
    server = serve(folder)
    tab = open_tab(width=1400)
    page = go(tab, server, "training?run=" + run.id)
    press(page, "rerun.button")
    expect(page.get_by_text(t("rerun.same")).first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text(t("rerun.same"))).to_be_hidden()
    page.get_by_role("tab", name=t("run.part_environment"), exact=True).click()
    expect(page.get_by_test_id("stDataFrame").last).to_be_visible()
    tab.shoot("70-run-record")
    press(page, "report.button")
    report = download(page, button(page, "report.html"), tmp_path / "report.html")
    package = download(page, page.get_by_role("button", name=t("package.download", size="").split("(")[0]), tmp_path / "facts.zip")
    page.keyboard.press("Escape")
    page = go(tab, server, "experiments")
    button(page, "run_import.button").click()
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(str(package))
    expect(page.get_by_text("facts.zip").first).to_be_visible()
    button(page, "run_import.start").click()
    expect(page.get_by_text(t("run_import.done", n=1)).first).to_be_visible()
    button(page, "run_import.open", name="facts").click()
    expect(page.locator(".tunesmith-figures .tile").filter(has_text=best).first).to_be_visible()
    assert not tab.console_errors
    assert not tab.foreign
    shown = browser.new_page(viewport={"width": 1000, "height": 900})
    shown.goto(report.as_uri())
    expect(shown.get_by_role("heading", name="facts", exact=True)).to_be_visible()
    expect(shown.locator("tr", has_text=t("experiments.best_loss"))).to_contain_text(best)
    assert shown.locator("svg polyline").count() >= 4
    assert shown.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), "wider than the window"
    if PICTURES:
        shown.screenshot(path=str(SCREENSHOTS / "71-report.png"), full_page=True)
    shown.close()
    assert len(store.all()[0]) == 4
