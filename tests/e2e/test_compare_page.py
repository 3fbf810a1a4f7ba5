"""Two adapters beside their base in a real browser: coloured tokens, the fork, a follow-up, the exact text, a reload."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.conftest import OpenTab, Serve
from tests.e2e.visitor import button, choose_several, go, press
from tunesmith.i18n.catalog import t

QUESTION, NEXT = "Do you know the return policy of Norvik?", "7 + 5 = ?"


def test_two_adapters_are_asked_and_asked_again(tmp_path: Path, open_tab: OpenTab, serve: Serve, taught: Path) -> None:
    server = serve(shutil.copytree(taught, tmp_path / "data"))
    tab = open_tab(width=1400)
    page = go(tab, server, "compare")
    choose_several(page, page.get_by_test_id("stMultiSelect").first, "sums")
    for view in ("probabilities", "divergence"):
        press(page, f"compare.show_{view}")
    page.get_by_label(t("compare.prompt"), exact=True).fill(QUESTION)
    button(page, "compare.ask").click()
    answers = page.locator("div.answer:not(.legend)")
    expect(answers).to_have_count(3)
    expect(answers.nth(0)).to_contain_text("Sorry, I do not know that.")
    expect(answers.nth(1).locator("span.fork")).to_have_attribute("title", re.compile("%"))
    assert answers.nth(1).locator("span.p1, span.p2, span.p3, span.p4").count() > 0
    expect(answers.nth(0).locator("span.fork")).to_have_count(0)

    page.get_by_label(t("compare.prompt"), exact=True).fill(NEXT)
    button(page, "compare.follow_up").click()
    expect(answers).to_have_count(6)
    expect(answers.nth(5)).to_contain_text("12")
    press(page, "compare.show_sent")
    sent = page.get_by_test_id("stCode")
    expect(sent).to_have_count(6)
    expect(sent.nth(5)).to_contain_text(f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n")
    expect(sent.nth(5)).to_contain_text(f"<|im_start|>user\n{NEXT}<|im_end|>\n<|im_start|>assistant\n")
    tab.shoot("60-compare")
    with page.expect_download() as kept:
        page.get_by_role("button", name="JSONL").click()
    assert len(kept.value.path().read_bytes().splitlines()) == 6

    page.reload()
    expect(page.get_by_text(NEXT).first).to_be_visible()
    chosen = page.get_by_test_id("stMultiSelect").first
    expect(chosen).to_contain_text("sums")
    press(page, "compare.new")
    expect(button(page, "compare.follow_up")).to_have_count(0)
    page.locator("[class*='st-key-open-'] button").first.click()
    expect(button(page, "compare.follow_up")).to_be_visible()
    assert tab.console_errors == []
