"""A blind vote in a real browser: what reaches the tab before it names nobody, neither on the page nor on the wire; then all is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest
from playwright.sync_api import Page, WebSocket, expect

from tests.e2e.conftest import OpenTab, Serve
from tests.e2e.visitor import button, go
from tunesmith.i18n.catalog import t
from tunesmith.store.labels import set_name

ANIMALS = {"facts": "ZEBRA", "sums": "QUAGGA", "facts in haste": "OKAPI"}


@pytest.fixture
def runs(tmp_path: Path, taught: Path) -> dict[str, str]:
    """A copy of the taught store whose runs are called after animals; return the runs by their old names."""
    shutil.copytree(taught, tmp_path / "data")
    found = {}
    for folder in (tmp_path / "data/experiments").glob("[!.]*"):
        name = orjson.loads((folder / "experiment.json").read_bytes())["name"]
        set_name(folder, ANIMALS[name])
        found[name] = folder.name
    return found


def note_frames(page: Page) -> list[bytes]:
    """Return a list that grows with everything that the server sends to the tab."""
    frames: list[bytes] = []

    def note(payload: str | bytes) -> None:
        frames.append(payload if isinstance(payload, bytes) else payload.encode())

    def follow(socket: WebSocket) -> None:
        socket.on("framereceived", note)

    page.on("websocket", follow)
    return frames


def test_a_vote_is_blind_and_then_tells_all(tmp_path: Path, open_tab: OpenTab, serve: Serve, runs: dict[str, str]) -> None:
    server = serve(tmp_path / "data")
    tab = open_tab(width=1300)
    frames = note_frames(tab.page)
    page = go(tab, server, "arena")
    box = page.get_by_test_id("stMultiSelect").first
    expect(box).to_contain_text("QUAGGA")
    button(page, "arena.create").click()
    page.get_by_label(t("arena.person"), exact=True).fill("Mai")
    page.get_by_label(t("arena.prompt"), exact=True).fill("7 + 5 = ?")
    expect(page.get_by_text("QUAGGA")).to_have_count(0)
    before = len(frames)
    button(page, "arena.ask").click()
    expect(button(page, "arena.tie")).to_be_visible()
    drawn, sent = page.content(), b"".join(frames[before:])
    assert b"12" in sent
    for word in (*ANIMALS.values(), *runs.values(), "adapter:", "tokens/s"):
        assert word not in drawn, word
        assert word.encode() not in sent, word
    tab.shoot("70-arena-blind")
    right = page.get_by_test_id("stColumn").filter(has_text="12")
    letter = "A" if t("arena.answer", letter="A") in right.last.inner_text() else "B"
    button(page, "arena.best_two", letter=letter).click()
    expect(page.get_by_test_id("stColumn").filter(has_text="QUAGGA").last).to_contain_text(t("arena.chosen"))
    expect(page.get_by_test_id("stMain")).to_contain_text("not yet enough to tell")
    tab.shoot("71-arena-reveal")
    page.get_by_text(t("arena.view_standings"), exact=True).first.click()
    expect(page.get_by_test_id("stPlotlyChart")).to_be_visible()
    button(page, "arena.make").click()
    expect(button(page, "arena.open_data")).to_be_visible()
    tab.shoot("72-arena-standings")
    (made,) = (tmp_path / "data/datasets").glob("arena*/v1/train.jsonl")
    (row,) = map(orjson.loads, made.read_bytes().splitlines())
    assert row["prompt"] == "7 + 5 = ?"
    assert "12" in row["chosen"]
    assert "12" not in row["rejected"]
    assert tab.console_errors == []
    assert tab.foreign == []
