"""Signing in by a provider at another site, in a browser: the cookie arrives, the page knows who came in and shows an admin who is here."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.conftest import OpenTab
from tests.oidc_double import CLIENT, SECRET, oidc_double
from tests.shared_server import shared_server
from tunesmith.access.people import ADMIN
from tunesmith.access.provider import Provider, ProviderFile
from tunesmith.i18n.catalog import t


def test_an_admin_signs_in_elsewhere_and_sees_who_is_here(tmp_path: Path, open_tab: OpenTab) -> None:
    with oidc_double("localhost") as double, shared_server(tmp_path) as (server, file):
        ProviderFile(file.path.parent).keep(Provider(double.issuer, CLIENT, SECRET, server.address, {"ada@lab.example": ADMIN}))
        tab = open_tab()
        page = tab.page
        page.goto(f"{server.address}/settings?view=people")
        tab.shoot("72-sign-in")
        page.get_by_role("link", name=t("login.sign_in", provider="localhost")).click()
        expect(page.get_by_role("heading", name=t("people.here"))).to_be_visible()
        expect(page.get_by_test_id("stSidebar").get_by_text(f"ada@lab.example · {t('role.admin')}").first).to_be_visible()
        tab.shoot("73-people")
        page.get_by_role("button", name=t("people.renew"), exact=True).first.click()
        code = page.get_by_role("dialog").get_by_test_id("stCode").inner_text().strip()
        page.get_by_role("button", name=t("people.renew_now")).click()
        expect(page.get_by_text(t("error.session_over")).first).to_be_visible()  # everybody enters again
        assert code in file.open().codes.values()
        double.user["email"] = "eve@else.example"
        page.goto(server.address)
        page.get_by_role("link", name=t("login.sign_in", provider="localhost")).click()
        expect(page.get_by_role("alert")).to_have_text(t("error.oidc_person_unknown", email="eve@else.example"))
        assert [line for line in tab.console_errors if not line.startswith("403 ")] == []
        assert {url.partition("?")[0] for url in tab.foreign} == {f"{double.issuer}/authorize"}
