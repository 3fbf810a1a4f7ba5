"""A shared server in a browser: the code is asked for once, the page knows who came in, and leaving shuts the door of every tab again."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.conftest import OpenTab
from tests.e2e.visitor import button, drawn, press
from tests.shared_server import shared_server
from tunesmith.access.people import VIEWER
from tunesmith.i18n.catalog import t
from tunesmith.store.experiments import ExperimentStore


def test_a_viewer_enters_looks_and_leaves(tmp_path: Path, open_tab: OpenTab, taught: Path) -> None:
    run = ExperimentStore(shutil.copytree(taught, tmp_path / "data")).all()[0][0]
    with shared_server(tmp_path) as (server, file):
        tab = open_tab()
        page = tab.page
        page.goto(f"{server.address}/experiments")
        page.get_by_label(t("login.name")).fill("山田 太郎")
        page.get_by_label(t("login.code")).fill("not the code")
        page.get_by_role("button", name=t("login.enter")).click()
        expect(page.get_by_role("alert")).to_have_text(t("error.code_wrong"))
        page.get_by_label(t("login.code")).fill(file.open().codes[VIEWER])
        tab.shoot("70-door")
        page.get_by_role("button", name=t("login.enter")).click()
        expect(page.get_by_role("heading", name=t("experiments.title"), exact=True)).to_be_visible()
        expect(page.get_by_test_id("stSidebar").get_by_text(f"山田 太郎 · {t('role.viewer')}").first).to_be_visible()
        page.goto(server.address)
        expect(page.get_by_role("button", name=t("home.demo_button"))).to_be_disabled()
        tab.shoot("71-viewer-home")
        page.goto(f"{server.address}/training?run={run.id}")
        press(page, "report.button")
        for label, head in (("report.html", b"<!doctype html>"), ("report.markdown", b"PK"), ("report.csv", b"step")):
            with page.expect_download() as found:  # one right after the other: none withdraws another's file
                button(page, label).click()
            assert found.value.path().read_bytes()[: len(head)].lower() == head.lower(), label
        other = page.context.new_page()
        other.goto(f'data:text/html,<a href="{server.address}/overlay?view=settings">link</a>')  # at another site
        other.get_by_role("link").click()
        expect(other.get_by_role("heading", name=t("overlay.title"), exact=True)).to_be_visible()
        drawn(other)
        page.get_by_role("link", name=t("login.leave")).click()
        expect(page.get_by_label(t("login.code"))).to_be_visible()
        other.get_by_role("link", name=t("nav.adapters")).click()
        expect(other.get_by_text(t("error.session_over")).first).to_be_visible()
        other.get_by_role("link", name=t("login.enter_again")).click()
        expect(other.get_by_label(t("login.code"))).to_be_visible()
        assert other.url == f"{server.address}/login?next=%2Fadapters"
        assert [line for line in tab.console_errors if not line.startswith("401 ")] == []
        assert tab.foreign == []
