"""Figures side by side. Knows no run."""

from __future__ import annotations

import streamlit as st


def draw_tiles(tiles: tuple[tuple[str, str, str | None], ...]) -> None:
    """Draw figures side by side, each with a note below."""
    for place, (label, value, note) in zip(st.columns([1.4, 1, 1, 1, 1][: len(tiles)]), tiles, strict=True):
        place.metric(label, value, delta=note, delta_color="off", delta_arrow="off", border=True, height="stretch")
