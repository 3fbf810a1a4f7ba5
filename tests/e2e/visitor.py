"""What a visitor does in a browser: goes to a page, presses, chooses, ticks rows. Knows no particular page."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from playwright.sync_api import Error, Locator, Page, expect

from tests.e2e.conftest import PATIENCE_MS, Server, Watched
from tests.e2e.settled import wait_settled
from tunesmith.i18n.catalog import t

RUN_MS = 240_000  # a whole run of the demo: 40 s on two free cores
BRIEFLY_MS = 5_000  # then a press is tried once more
DARK = """() => {
  const app = document.querySelector('[data-testid=stApp]');  // not there yet while the page loads
  return app !== null && getComputedStyle(app).backgroundColor === 'rgb(18, 21, 29)';
}"""
HEADING, ROW = 36, 35  # pixels: a table's first line, and each of the others


def go(tab: Watched, server: Server, page: str, lang: str = "en") -> Page:
    tab.page.goto(f"{server.address}/{'' if page == 'home' else page}")
    expect(tab.page.get_by_role("heading", name=t(f"{page.split('?')[0]}.title", lang), exact=True)).to_be_visible()
    return tab.page


def drawn(page: Page) -> None:
    """Wait until the server draws no more: what is pressed meanwhile may be another thing a moment later."""
    wait_settled(page, PATIENCE_MS)


def button(page: Page | Locator, key: str, **values: object) -> Locator:
    return page.get_by_role("button", name=t(key, **values), exact=True)


def press(page: Page, key: str, **values: object) -> None:
    """Press a button once nothing is drawn."""
    drawn(page)
    button(page, key, **values).click()


def until(act: Callable[[], object]) -> None:
    """Do something again until it works: an open list closes, and a press is lost, where the page is drawn anew."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while True:
        try:
            act()
            return
        except (AssertionError, Error):
            if time.monotonic() > deadline:
                raise


def choose(page: Page, label: str, option: str) -> None:
    """Choose from a list of one."""
    box = page.get_by_test_id("stSelectbox").filter(has=page.get_by_text(label, exact=True)).locator("input")

    def pick() -> None:
        drawn(page)
        box.click()
        box.fill(option)  # a long list draws only what is in sight
        page.get_by_role("option", name=option, exact=True).click(timeout=BRIEFLY_MS)
        expect(box).to_have_value(option, timeout=BRIEFLY_MS)

    until(pick)


def choose_several(page: Page, box: Locator, *options: str) -> None:
    """Choose from a list of several; each option is found by a part of its words."""

    def pick(option: str) -> None:
        drawn(page)
        if option not in box.inner_text():
            box.locator("input").fill(option)
            page.get_by_role("option").filter(has_text=option).first.click(timeout=BRIEFLY_MS)
        expect(box).to_contain_text(option, timeout=BRIEFLY_MS)

    for option in options:
        until(partial(pick, option))
    page.keyboard.press("Escape")  # an open list hides everything else from roles


def tick_rows(table: Locator, *rows: int) -> None:
    """Tick rows of a table, the first is 0."""

    def tick(row: int) -> None:
        line = table.locator(f'tr[aria-rowindex="{row + 2}"]')  # the words of the canvas, which one cannot see
        if line.get_attribute("aria-selected") != "true":
            table.click(position={"x": 16, "y": HEADING + ROW * (row + 0.5)})
        expect(line).to_have_attribute("aria-selected", "true", timeout=BRIEFLY_MS)

    for row in rows:
        until(partial(tick, row))


def wait_for_another_time(page: Page) -> None:
    """Wait until the elapsed time, the third tile, has changed."""
    now = page.locator(".tunesmith-figures .tile .value").nth(2).inner_text()
    expect(page.locator(".tunesmith-figures .tile .value").nth(2)).not_to_have_text(now)
