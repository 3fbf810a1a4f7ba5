"""An adapter is evaluated against its base in a real browser: figures, verdict, a row in full."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.conftest import OpenTab, Serve
from tests.e2e.visitor import button, go, tick_rows
from tunesmith.i18n.catalog import t
from tunesmith.store.experiments import ExperimentStore


def test_facts_are_better_than_the_base(tmp_path: Path, open_tab: OpenTab, serve: Serve, taught: Path) -> None:
    folder = shutil.copytree(taught, tmp_path / "data")
    run = next(run for run in ExperimentStore(folder).all()[0] if run.name == "facts")
    server = serve(folder)
    tab = open_tab(width=1400)
    tab.page.goto(f"{server.address}/evaluate?view=score&variant=adapter:{run.id}")
    page = tab.page
    button(page, "evaluation.start").click()
    words = t("evaluation.verdict_better", candidate="facts", best="demo (model)")
    expect(page.get_by_text(words).first).to_be_visible()
    expect(page.get_by_text(t("evaluation.table_note", rows=12)).first).to_be_visible()
    expect(page.get_by_test_id("stPlotlyChart").first).to_be_visible()
    expect(page.get_by_text(t("evaluation.rows_shown", shown=12, rows=12)).first).to_be_visible()
    tick_rows(page.get_by_test_id("stDataFrame").last, 0)
    expect(page.get_by_text(t("evaluation.diff_note")).first).to_be_visible()
    expect(page.get_by_test_id("stHtml").last).to_have_text("Sorry, I do not know that.")
    tab.shoot("60-evaluation")
    go(tab, server, "evaluate")
    expect(page.get_by_test_id("stDataFrame").last).to_be_visible()
    assert tab.console_errors == []
