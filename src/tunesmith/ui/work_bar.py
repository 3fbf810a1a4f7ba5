"""A bar for work that a page waits for: share, time left, and a way out. Knows no work."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st

from tunesmith.ui.figures import show_duration
from tunesmith.ui.session import t

FORECAST_AFTER_SECONDS = 2.0


@contextmanager
def work_bar(words: str) -> Iterator[Callable[[float], None]]:
    """Draw a bar and a button that ends the work; yields what takes the share done.

    Pressing the button (or anything else) draws the page anew, which stops the work at its next report.
    """
    place = st.empty()
    began = time.monotonic()
    with place.container():
        bar = st.progress(0.0, text=words)
        st.button(t("common.cancel"), key=f"stop-{secrets.token_hex(4)}", icon=":material/close:")

    def report(share: float) -> None:
        passed = time.monotonic() - began
        shown = f"{words} {share:.0%}"
        if share and passed > FORECAST_AFTER_SECONDS:
            shown = f"{shown} · {t('common.time_left', time=show_duration(passed * (1 - share) / share))}"
        bar.progress(share, text=shown)

    try:
        yield report
    finally:
        place.empty()
