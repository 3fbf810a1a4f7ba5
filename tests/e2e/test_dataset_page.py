"""From a file with odd column names to a run that learned from it, in a real browser."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.e2e.conftest import OpenTab, Server
from tests.e2e.visitor import RUN_MS, button, choose, go, press
from tunesmith.i18n.catalog import t

QUESTIONS = ["営業時間は?", "Where are you?", "Can I pay by card?", "駐車場はありますか?", "Do you ship abroad?", "返品できますか?"]
ROWS = [(question, f"答え {number}: yes, until {number + 15}:00.") for number, question in enumerate(QUESTIONS)]
CSV = "Kundenfrage;Antwort des Teams;Nr\r\n" + "".join(f'"{q}";"{a}";{n}\r\n' for n, (q, a) in enumerate([*ROWS, ROWS[0]]))


def open_tab_named(page: Page, key: str) -> None:
    page.get_by_role("tab", name=re.compile("^" + re.escape(t(key)))).click()


def map_column(page: Page, role: str, column: str) -> None:
    """Choose a role's column and wait until the file was looked at anew."""
    choose(page, t(f"import.role_{role}"), column)
    expect(button(page, "import.keep")).to_be_visible()


def test_from_an_odd_csv_to_a_run(server: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, server, "dataset")
    page.get_by_text(t("dataset.upload")).first.click()
    page.locator("input[type=file]").set_input_files({"name": "FAQ 2026.csv", "mimeType": "text/csv", "buffer": CSV.encode()})
    expect(page.get_by_text(t("import.mapping_text")).first).to_be_visible()  # a mapping is suggested at once
    expect(page.get_by_text(QUESTIONS[0]).first).to_be_visible()
    tab.shoot("dataset-mapping")
    map_column(page, "prompt", "Antwort des Teams")  # the preview follows the choice
    map_column(page, "completion", "Kundenfrage")
    expect(page.get_by_test_id("stChatMessage").first).to_contain_text("答え 0")
    map_column(page, "prompt", "Kundenfrage")
    map_column(page, "completion", "Antwort des Teams")
    expect(page.get_by_test_id("stChatMessage").first).to_contain_text(QUESTIONS[0])
    press(page, "import.keep")
    expect(page.get_by_text(t("dataset.uploaded", name="faq-2026", rows=7)).first).to_be_visible()

    open_tab_named(page, "dataset.xray")
    expect(page.locator(".xray .learned").first).to_be_visible()
    learned = "".join(page.locator(".xray").first.locator(".learned").all_inner_texts()).replace("·", "")
    assert learned == "答え 0: yes, until 15:00.<|im_end|>"
    tab.shoot("dataset-xray")

    open_tab_named(page, "dataset.quality")
    button(page, "quality_page.check").click()
    expect(page.get_by_text(t("quality.exact_duplicates")).first).to_be_visible()
    page.get_by_text(t("quality_page.drop", count=1)).first.click()
    expect(button(page, "quality_page.apply")).to_be_enabled()
    tab.shoot("dataset-quality")
    press(page, "quality_page.apply")
    done = t("quality_page.done", version=2, rows=6, left_out=1, changed=0)
    expect(page.get_by_text(done).first).to_be_visible()

    open_tab_named(page, "dataset.split")
    page.get_by_role("spinbutton", name=t("split.test")).fill("1")
    page.keyboard.press("Enter")
    press(page, "split.apply")
    expect(page.get_by_text(t("split.done", version=3)).first).to_be_visible()

    open_tab_named(page, "dataset.history")
    expect(page.get_by_text(t("history.version", number=3), exact=True).first).to_be_visible()
    tab.shoot("dataset-versions")

    button(page, "dataset.train").click()
    expect(page.get_by_role("heading", name=t("training.title"), exact=True)).to_be_visible()
    page.get_by_role("spinbutton", name="Steps").first.fill("3")
    page.keyboard.press("Enter")
    expect(page.get_by_text(t("training.ready")).first).to_be_visible()
    press(page, "training.start")
    expect(page.get_by_text(t("status.completed")).first).to_be_visible(timeout=RUN_MS)
    expect(page.get_by_text("faq-2026@3").first).to_be_visible()
    assert tab.console_errors == []


def test_samples_and_generated_rows(common_server: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, common_server, "dataset")
    page.get_by_text(t("dataset.upload")).first.click()
    page.get_by_role("tab", name=t("import.tab_samples")).click()
    expect(page.get_by_text(t("samples.text")).first).to_be_visible()
    tab.shoot("dataset-samples")
    button(page, "samples.take").click()
    expect(page.get_by_text(t("dataset.uploaded", name="chat-general", rows=10)).first).to_be_visible()

    page.get_by_role("tab", name=t("import.tab_generate")).click()
    text = page.get_by_role("textbox", name=t("synthesis.source_text"))
    text.fill("The shop opens at nine. It closes at five.\n\nParking is free.")
    text.press("Control+Enter")
    expect(page.get_by_text(t("synthesis.pieces", count=1)).first).to_be_visible()
    longest = page.get_by_role("spinbutton", name=re.compile("^Longest answer"))
    longest.fill("16")
    longest.press("Enter")
    press(page, "synthesis.start")
    expect(page.get_by_text(t("synthesis.status_running")).first).to_be_visible()
    tab.shoot("dataset-generate")
    button(page, "common.cancel").first.click()
    expect(
        page.get_by_text(re.compile(t("synthesis.status_cancelled") + "|" + re.escape(t("synthesis.status_exhausted")))).first
    ).to_be_visible()
    assert tab.console_errors == []


def test_the_page_in_japanese(common_server: Server, open_tab: OpenTab) -> None:
    tab = open_tab(locale="ja-JP")
    page = go(tab, common_server, "dataset?data=japanese", lang="ja")
    page.get_by_role("tab", name=t("dataset.quality", "ja")).click()
    page.get_by_role("button", name=t("quality_page.check", "ja")).click()
    expect(page.get_by_text(t("quality_page.normalise", "ja")).first).to_be_visible()
    tab.shoot("dataset-quality-ja")
    assert tab.console_errors == []
