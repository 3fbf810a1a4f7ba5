"""The live curves of a run, or of several: one element that polls its own route and keeps the zoom. Knows no metrics' files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from tunesmith.services.curves import GIGABYTES, Panel, panels_of
from tunesmith.services.run_colours import run_colours
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
    words |= _bar_words() | {"log_axis": t("run.log_axis"), "step": t("run.x_axis")}
    _draw(f"curves-{run_id}", f"/live/runs/{run_id}", active, {"words": words})


def live_overlay(runs: Mapping[str, str], titles: Mapping[str, str], axis: str, active: bool) -> None:
    """Draw the charts `titles` (title by name) of several runs (name by id) along an axis of `overlays.AXES`.

    They go on by themselves while any run is `active`.
    """
    words = {f"panel_{name}": title for name, title in titles.items()}
    words |= _bar_words() | {"log_axis": t("overlay.log_axis"), "step": t(f"overlay.axis_{axis}"), "held_out": t("overlay.held_out")}
    colours = run_colours(runs)
    shown = {run_id: {"name": name, "colour": colours[run_id]} for run_id, name in runs.items()}
    address = "/live/overlay?" + urlencode({"runs": ",".join(runs), "charts": ",".join(titles), "x": axis})
    _draw("overlay", address, active, {"words": words, "runs": shown, "axis": axis})


def _bar_words() -> dict[str, str]:
    return {"smoothing": t("run.smoothing"), "empty": t("run.no_points")}


def _draw(key: str, address: str, active: bool, more: dict[str, Any]) -> None:
    data = {"address": address, "plotly": "/assets/plotly.min.js", "every_ms": EVERY_MS, "active": active, **more}
    _component()(key=key, data=data)
