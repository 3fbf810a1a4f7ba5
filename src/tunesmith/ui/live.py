"""The live curves of a run: one element that polls its own route and keeps the zoom. Knows the route, not the metrics' files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from tunesmith.services.curves import GIGABYTES, Panel, panels_of
from tunesmith.training.rewards.registry import REWARDS
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


def _labels(panel: Panel) -> list[str]:
    return [GIGABYTES.get(name, name) for name in panel.metrics if not name.endswith("/")]


def live_curves(run_id: str, method: str, active: bool) -> None:
    """Draw the run's curves; they go on by themselves while it is `active`, and again when it is resumed."""
    words = {name: t(f"curve.{name}") for panel in panels_of(method) for name in _labels(panel)}
    words |= {f"panel_{panel.name}": t(f"panel.{panel.name}") for panel in panels_of(method)}
    words |= {f"reward/{name}": t(f"reward.{name}") for name in REWARDS}
    words |= {"smoothing": t("run.smoothing"), "log_axis": t("run.log_axis"), "empty": t("run.no_points"), "step": t("run.x_axis")}
    data = {
        "address": f"/api/runs/{run_id}/series",
        "plotly": "/assets/plotly.min.js",
        "every_ms": EVERY_MS,
        "active": active,
        "words": words,
    }
    _component()(key=f"curves-{run_id}", data=data)
