"""A run's state as a coloured chip. Knows the states' looks, no services."""

from __future__ import annotations

import streamlit as st

from tunesmith.ui.session import t

STATUS_LOOK = {
    "queued": ("gray", "hourglass_empty"), "starting": ("blue", "pending"), "running": ("blue", "play_circle"),
    "stopping": ("orange", "pending"), "completed": ("green", "check_circle"), "failed": ("red", "error"),
    "cancelled": ("gray", "stop_circle"), "interrupted": ("orange", "power_off"), "paused": ("orange", "pause_circle"),
}  # fmt: skip


def draw_status(status: str) -> None:
    """Draw a run's state as a coloured chip."""
    colour, icon = STATUS_LOOK[status]
    st.badge(t(f"status.{status}"), color=colour, icon=f":material/{icon}:")  # type: ignore[arg-type]
