"""Answers are judged in a real browser by an endpoint on loopback: form, verdict, a row in full, the deletion that asks first."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.conftest import OpenTab, Serve
from tests.e2e.visitor import button, tick_rows
from tests.judge_double import add_evaluation, serve_judge, verdict_for
from tunesmith.i18n.catalog import t

ROWS = 20


def test_an_endpoint_judges_an_evaluation(tmp_path: Path, open_tab: OpenTab, serve: Serve) -> None:
    evaluation = add_evaluation(tmp_path / "data", ROWS)
    server = serve(tmp_path / "data")
    with serve_judge(lambda asked, _: (200, "neither" if asked == (2, True) else verdict_for(True, asked[1]))) as double:
        tab = open_tab(width=1400)
        page = tab.page
        page.goto(f"{server.address}/evaluate?view=judge&evaluation={evaluation}")
        address = page.get_by_label(t("endpoint.address"), exact=True)
        address.fill(double.address)
        address.press("Enter")
        expect(page.get_by_text(f"{2 * ROWS} questions to the judge").first).to_be_visible()
        button(page, "judge.start").click()
        facts = {"left": "left (model)", "right": "right (model)", "rate": 1.0, "low": 1.0, "high": 1.0}
        expect(page.get_by_text(t("judge.verdict_better", **facts)).first).to_be_visible()
    expect(page.get_by_text(t("judge.left_out", count="1", asked=str(2 * ROWS))).first).to_be_visible()
    expect(page.get_by_text(t("judge.tokens", prompt="12,000", completion="1,600")).first).to_be_visible()
    tick_rows(page.get_by_test_id("stDataFrame").last, 0)
    expect(page.get_by_text(t("judge.said_order", name="left (model)")).first).to_be_visible()
    expect(page.get_by_text("left says 0", exact=True).first).to_be_visible()
    expect(page.get_by_text("This one is right.").first).to_be_visible()
    tab.shoot("63-judgement")
    button(page, "common.delete").click()
    page.get_by_role("dialog").get_by_role("button", name=t("common.delete")).click()
    expect(page.get_by_text(t("judge.none")).first).to_be_visible()
    assert tab.console_errors == []
