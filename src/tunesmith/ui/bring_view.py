"""The ways to bring data in, side by side. Only the open one does anything."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from tunesmith.ui.import_view import draw_hub, draw_import, finish_import
from tunesmith.ui.messages import guarded
from tunesmith.ui.samples_view import draw_samples
from tunesmith.ui.session import t
from tunesmith.ui.synthesis_view import draw_synthesis

WAYS: dict[str, Callable[[], None]] = {
    "file": draw_import, "hub": draw_hub, "samples": draw_samples, "generate": lambda: draw_synthesis(finish_import),
}  # fmt: skip


def draw_bring() -> None:
    """Draw the ways to bring data in."""
    with st.expander(t("dataset.upload"), icon=":material/upload:"):
        tabs = st.tabs([t(f"import.tab_{name}") for name in WAYS], on_change="rerun", key="bring")
        for tab, draw in zip(tabs, WAYS.values(), strict=True):
            with tab, guarded():
                if tab.open:
                    draw()
