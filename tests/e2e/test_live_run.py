"""A going run in two tabs: its figures move without the page being drawn anew, and both hear of its end by themselves."""

from __future__ import annotations

from playwright.sync_api import WebSocket, expect

from tests.e2e.conftest import OpenTab, Server
from tests.e2e.visitor import wait_for_another_time
from tunesmith.i18n.catalog import t


def test_figures_move_without_a_drawing_and_the_end_reaches_all(server: Server, open_tab: OpenTab) -> None:
    tab, other = open_tab(), open_tab(width=420, dark=True, locale="ja-JP")
    page, sent = tab.page, list[str | bytes]()

    def note(socket: WebSocket) -> None:
        socket.on("framesent", lambda message: sent.append(message))

    page.on("websocket", note)
    page.goto(server.address)
    page.get_by_role("button", name=t("home.demo_button")).click()
    expect(page.get_by_role("progressbar", name=t("run.progress"))).to_be_visible()
    other.page.goto(page.url)
    bar = page.get_by_role("progressbar", name=t("run.progress"))
    expect(bar).not_to_have_attribute("aria-valuenow", "0")
    assert "run=" in page.url
    before = len(sent)
    for _ in range(4):
        wait_for_another_time(page)
    assert len(sent) - before <= 2, "only events have parts of the page drawn anew"
    expect(page.get_by_text(t("run.sample_step", step="0"), exact=True).first).to_be_visible()
    tab.shoot("04-run-figures")
    expect(other.page.get_by_role("status")).to_contain_text(t("status.running", "ja"))
    other.shoot("05-run-figures-ja")
    page.get_by_role("button", name=t("run.stop"), exact=True).click()
    page.get_by_role("button", name=t("run.stop_yes")).click()
    for each, lang in ((page, "en"), (other.page, "ja")):
        expect(each.get_by_role("status").filter(has_text=t("status.cancelled", lang))).to_be_visible()
        expect(each.get_by_role("button", name=t("run.compare", lang), exact=True)).to_be_visible()
        expect(each.get_by_role("button", name=t("run.stop", lang), exact=True)).to_be_hidden()
    assert tab.console_errors == other.console_errors == []
