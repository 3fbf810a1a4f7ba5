"""The newcomer's path in a real browser: one button, a curve that grows, two answers."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import ROOT, OpenTab, Server
from tests.e2e.visitor import RUN_MS, button, drawn
from tunesmith.i18n.catalog import t

REFUSAL = "Sorry, I do not know that."


def held_out() -> list[tuple[str, str]]:
    lines = (ROOT / "demo/data/company_facts/test.jsonl").read_text(encoding="utf-8").splitlines()
    return [tuple(m["content"] for m in json.loads(line)["messages"]) for line in lines]  # type: ignore[misc]


def points_drawn(page: Page) -> int:
    """Return how many points the training loss curve has in the browser."""
    script = "() => { const p = document.querySelector('.tunesmith-live .plot'); return p && p.data ? p.data[0].x.length : 0; }"
    return int(page.evaluate(script))


def test_from_home_to_a_tuned_answer(server: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = tab.page
    page.goto(server.address)
    expect(page.get_by_role("heading", name=t("home.title"))).to_be_visible()
    tab.shoot("01-home-empty")
    drawn(page)
    page.get_by_role("button", name=t("home.demo_button")).dblclick(delay=20)

    expect(page.locator(".tunesmith-live .plot")).to_be_visible()
    page.wait_for_function("() => (document.querySelector('.tunesmith-live .plot').data?.[0].x.length ?? 0) >= 3")
    early = points_drawn(page)
    zoom = "() => Plotly.relayout(document.querySelector('.tunesmith-live .plot'), {'xaxis.range': [1, 50]})"
    page.evaluate(zoom)
    tab.shoot("02-run-going")
    page.wait_for_function(f"() => document.querySelector('.tunesmith-live .plot').data[0].x.length >= {early + 3}")
    kept = page.evaluate("() => document.querySelector('.tunesmith-live .plot').layout.xaxis.range")
    assert kept == [1, 50], "the zoom was lost when new points came"

    assert len(list((server.data_dir / "experiments").glob("2*"))) == 1, "a double click started two runs"
    address = page.url
    assert "run=" in address
    page.reload()
    expect(page.locator(".tunesmith-live .plot")).to_be_visible()
    assert page.url == address

    expect(page.get_by_text(t("run.done_title")).first).to_be_visible(timeout=RUN_MS)
    tab.shoot("03-run-completed")
    page.get_by_role("button", name=t("run.compare")).click()
    expect(page.get_by_role("heading", name=t("compare.title"))).to_be_visible()

    right = 0
    for question, answer in held_out()[:4]:
        page.get_by_label(t("compare.prompt"), exact=True).fill(question)
        page.get_by_role("button", name=t("compare.ask"), exact=True).click()
        panes = page.get_by_test_id("stMain")
        expect(panes.get_by_test_id("stChatMessage").filter(has_text=question).first).to_be_visible()
        expect(panes).to_contain_text(answer.split(" is ")[0] + " is")
        expect(button(page, "compare.stop")).to_be_hidden()
        expect(panes).to_contain_text(REFUSAL)
        right += answer in panes.inner_text()
    tab.shoot("04-compare")
    assert right >= 3
    for name in ("experiments", "adapters", "fusion", "export", "dataset", "settings", "training"):
        page.goto(f"{server.address}/{name}")
        expect(page.get_by_role("heading", name=t(f"{name}.title"), exact=True)).to_be_visible()
        drawn(page)
        tab.shoot(f"05-{name}")
    assert tab.console_errors == []
    assert tab.foreign == []


@pytest.mark.slow
def test_every_page_in_japanese_in_the_dark_and_on_a_phone(server: Server, open_tab: OpenTab) -> None:
    """Keep screenshots of a filled store; nothing may fail."""
    tab = open_tab()
    tab.page.goto(server.address)
    tab.page.get_by_role("button", name=t("home.demo_button")).click()
    expect(tab.page.get_by_text(t("run.done_title")).first).to_be_visible(timeout=RUN_MS)
    run_address = tab.page.url
    for label, options in (
        ("ja", {"locale": "ja-JP"}), ("dark", {"dark": True}), ("phone", {"width": 390, "height": 844}),
    ):  # fmt: skip
        lang = "ja" if label == "ja" else "en"
        tab = open_tab(**options)
        for number, name in enumerate(
            ("home", "training", "run", "compare", "dataset", "experiments", "overlay", "adapters", "fusion", "export", "settings")
        ):
            tab.page.goto(run_address if name == "run" else f"{server.address}/{'' if name == 'home' else name}")
            heading = t(f"{'training' if name == 'run' else name}.title", lang)
            expect(tab.page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
            drawn(tab.page)
            tab.shoot(f"{label}-{number}-{name}")
        assert tab.console_errors == []
        assert tab.foreign == []
