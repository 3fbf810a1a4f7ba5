"""Two adapters beside their base in a real browser: coloured tokens, the fork, a follow-up, the exact text, a reload."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Server, Watched
from tests.e2e.test_controls import button, go
from tests.e2e.test_fusion_page import pick_adapters
from tunesmith.i18n.catalog import t

OpenTab = Callable[..., Watched]
SOON = 30_000  # milliseconds
QUESTION, NEXT = "Do you know the return policy of Norvik?", "7 + 5 = ?"


@pytest.mark.timeout(200)
def test_two_adapters_are_asked_and_asked_again(tmp_path: Path, open_tab: OpenTab, taught: Path) -> None:
    server = Server(shutil.copytree(taught, tmp_path / "data"), tmp_path / "server.log")
    server.start()
    try:
        tab = open_tab(width=1400)
        page = go(tab, server, "compare")
        pick_adapters(page, "sums")
        for view in ("probabilities", "divergence"):
            button(page, f"compare.show_{view}").click()
        page.get_by_label(t("compare.prompt"), exact=True).fill(QUESTION)
        button(page, "compare.ask").click()
        answers = page.locator("div.answer:not(.legend)")
        expect(answers).to_have_count(3, timeout=SOON)
        expect(answers.nth(0)).to_contain_text("Sorry, I do not know that.")
        expect(answers.nth(1).locator("span.fork")).to_have_attribute("title", re.compile("%"))
        assert answers.nth(1).locator("span.p1, span.p2, span.p3, span.p4").count() > 0
        expect(answers.nth(0).locator("span.fork")).to_have_count(0)

        page.get_by_label(t("compare.prompt"), exact=True).fill(NEXT)
        button(page, "compare.follow_up").click()
        expect(answers).to_have_count(6, timeout=SOON)
        expect(answers.nth(5)).to_contain_text("12")
        button(page, "compare.show_sent").click()
        sent = page.get_by_test_id("stCode")
        expect(sent).to_have_count(6, timeout=SOON)
        expect(sent.nth(5)).to_contain_text(f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n")
        expect(sent.nth(5)).to_contain_text(f"<|im_start|>user\n{NEXT}<|im_end|>\n<|im_start|>assistant\n")
        tab.shoot("60-compare")

        page.reload()
        expect(page.get_by_text(NEXT).first).to_be_visible(timeout=SOON)
        chosen = page.get_by_test_id("stMultiSelect").first
        expect(chosen).to_contain_text("sums", timeout=SOON)
        button(page, "compare.new").click()
        expect(button(page, "compare.follow_up")).to_have_count(0, timeout=SOON)
        page.locator("[class*='st-key-open-'] button").first.click()
        expect(button(page, "compare.follow_up")).to_be_visible(timeout=SOON)
        assert tab.console_errors == []
    finally:
        server.stop()
