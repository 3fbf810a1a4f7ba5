"""An adapter is evaluated against its base in a real browser: figures, verdict, a row in full."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Server, Watched
from tests.e2e.test_controls import button, go
from tunesmith.i18n.catalog import t
from tunesmith.store.experiments import ExperimentStore

OpenTab = Callable[..., Watched]
LONG = 60_000  # milliseconds


@pytest.mark.timeout(200)
def test_facts_are_better_than_the_base(tmp_path: Path, open_tab: OpenTab, taught: Path) -> None:
    folder = shutil.copytree(taught, tmp_path / "data")
    run = next(run for run in ExperimentStore(folder).all()[0] if run.name == "facts")
    server = Server(folder, tmp_path / "server.log")
    server.start()
    try:
        tab = open_tab(width=1400)
        tab.page.goto(f"{server.address}/evaluate?view=score&variant=adapter:{run.id}")
        page = tab.page
        button(page, "evaluation.start").click(timeout=LONG)
        words = t("evaluation.verdict_better", candidate="facts", best="demo (model)")
        expect(page.get_by_text(words)).to_be_visible(timeout=LONG)
        expect(page.get_by_text(t("evaluation.table_note", rows=12))).to_be_visible()
        expect(page.get_by_test_id("stPlotlyChart").first).to_be_visible()
        expect(page.get_by_text(t("evaluation.rows_shown", shown=12, rows=12))).to_be_visible()
        page.wait_for_timeout(500)
        table = page.get_by_test_id("stDataFrame").last
        table.scroll_into_view_if_needed()
        table.click(position={"x": 16, "y": 52})
        expect(page.get_by_text(t("evaluation.diff_note"))).to_be_visible()
        expect(page.get_by_test_id("stHtml").last).to_have_text("Sorry, I do not know that.")
        tab.shoot("60-evaluation")
        go(tab, server, "evaluate")
        expect(page.get_by_test_id("stDataFrame").last).to_be_visible()
        assert tab.console_errors == []
    finally:
        server.stop()
