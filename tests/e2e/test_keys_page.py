"""A key typed into a real page: it crosses the wire once, is kept for its owner alone, and the page knows it no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, WebSocket, expect

from tests.e2e.conftest import OpenTab, Server
from tests.e2e.visitor import BRIEFLY_MS, drawn, until
from tunesmith.i18n.catalog import t
from tunesmith.system.secrets import key_file

KEY = "sk-planted-in-the-browser-0123456789"


@pytest.fixture(autouse=True)
def _no_hub_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)


def choose_key(page: Page, name: str) -> None:
    """Choose a key by its name, or give a new one its name."""
    names = page.get_by_role("combobox", name=t("keys.name"))

    def type_name() -> None:
        drawn(page)
        names.click()
        names.fill(name)
        names.press("Enter")
        expect(names).to_have_value(name, timeout=BRIEFLY_MS)

    until(type_name)


def test_a_typed_key_is_sent_once_and_forgotten(server: Server, open_tab: OpenTab, tmp_path: Path) -> None:
    tab = open_tab()
    page, sent = tab.page, list[bytes]()

    def note(frame: str | bytes) -> None:
        sent.append(frame if isinstance(frame, bytes) else frame.encode())

    def listen(socket: WebSocket) -> None:
        socket.on("framesent", note)

    page.on("websocket", listen)
    page.goto(f"{server.address}/settings?view=keys")
    choose_key(page, "A_MODEL_KEY")
    page.locator("input[type=password]").fill(KEY)
    page.get_by_role("button", name=t("common.save"), exact=True).click()
    expect(page.get_by_text(t("keys.saved", name="A_MODEL_KEY")).first).to_be_visible()
    expect(page.locator("input[type=password]")).to_have_value("")
    assert KEY in key_file().read_text()
    assert key_file().stat().st_mode & 0o777 == 0o600
    choose_key(page, "HF_TOKEN")
    expect(page.get_by_role("button", name=t("keys.remove"))).to_be_disabled()
    choose_key(page, "A_MODEL_KEY")
    page.get_by_role("button", name=t("keys.remove")).click()
    page.get_by_role("dialog").get_by_role("button", name=t("common.delete")).click()
    expect(page.get_by_text(t("keys.removed", name="A_MODEL_KEY")).first).to_be_visible()
    assert KEY not in key_file().read_text()
    assert [KEY.encode() in frame for frame in sent].count(True) == 1
    assert KEY not in page.content()
    assert KEY not in page.evaluate("() => JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + location.href")
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert tab.console_errors == []
