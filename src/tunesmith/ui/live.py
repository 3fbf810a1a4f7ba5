"""The live curves of a run: one element that polls its own route and keeps the zoom. Knows the route, not the metrics' files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from tunesmith.ui.session import t

_ASSETS = Path(__file__).parent / "assets"
EVERY_MS = 1000


@st.cache_resource(show_spinner=False)
def _component() -> Any:
    return st.components.v2.component(
        "tunesmith_live_curves",
        html=(_ASSETS / "live.html").read_text(encoding="utf-8"),
        css=(_ASSETS / "live.css").read_text(encoding="utf-8"),
        js=(_ASSETS / "live.js").read_text(encoding="utf-8"),
        isolate_styles=False,
    )


def live_curves(run_id: str, active: bool) -> None:
    """Draw the run's curves; they go on by themselves while it is `active`, and again when it is resumed."""
    words = {
        "loss": t("run.loss_panel"), "train_loss": t("run.train_loss"), "val_loss": t("run.curve_val_loss"),
        "learning_rate": t("run.learning_rate"), "tokens_per_second": t("run.curve_speed"), "peak_memory_gb": t("run.curve_memory"),
        "smoothing": t("run.smoothing"), "log_axis": t("run.log_axis"), "empty": t("run.no_points"), "step": t("run.x_axis"),
    }  # fmt: skip
    data = {
        "address": f"/api/runs/{run_id}/series",
        "plotly": "/assets/plotly.min.js",
        "every_ms": EVERY_MS,
        "active": active,
        "words": words,
    }
    _component()(key=f"curves-{run_id}", data=data)
