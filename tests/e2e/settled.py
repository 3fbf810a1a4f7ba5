"""A page is touched once it has answered the touch before: a press on a page that is drawn anew meets what stood there before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Locator, Page, TimeoutError

AT_LONGEST_MS = 10_000  # a page that draws for longer is pressed meanwhile, as people do
TOUCHES = ("click", "fill", "press", "set_input_files")


def watch(context: BrowserContext) -> None:
    """Have the pages of a context note what they ask and hear."""
    context.add_init_script(path=Path(__file__).with_suffix(".js"))


def wait_settled(page: Page, at_longest_ms: float) -> None:
    """Wait until nothing is asked and nothing drawn any more. Raises playwright's TimeoutError."""
    page.wait_for_function("() => window.pageIsSettled()", timeout=at_longest_ms)


def patient(touch: Callable[..., Any]) -> Callable[..., Any]:
    """Return a way to touch an element that waits for its page first."""

    @wraps(touch)
    def touch_settled(element: Locator, *words: Any, **options: Any) -> Any:
        with suppress(TimeoutError):
            wait_settled(element.page, AT_LONGEST_MS)
        return touch(element, *words, **options)

    return touch_settled


def touch_settled_pages() -> None:
    """From now on let every touch of an element wait for its page."""
    for name in TOUCHES:
        setattr(Locator, name, patient(getattr(Locator, name)))
