"""The live figures of a run, renewed by the browser from a route; the page itself is drawn anew only when it must. Knows no files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from tunesmith.ui.run_status import STATUS_LOOK
from tunesmith.ui.session import language, t

_ASSETS = Path(__file__).parent / "assets"


@st.cache_resource(show_spinner=False)
def _component() -> Any:
    return st.components.v2.component(
        "tunesmith_figures",
        html=(_ASSETS / "figures.html").read_text(encoding="utf-8"),
        css=(_ASSETS / "figures.css").read_text(encoding="utf-8"),
        js=(_ASSETS / "figures.js").read_text(encoding="utf-8"),
        isolate_styles=False,
    )


def live_head(run_id: str, figures: Mapping[str, Any]) -> None:
    """Draw a run's state and step (`reports.run_figures`); while it is active they go on, and all that watches the run hears of it."""
    asked = {"address": f"/live/runs/{run_id}/figures?lang={language()}", "active": figures["active"]}
    _draw(f"head-{run_id}", run_id, {"show": "head", "figures": figures, "looks": STATUS_LOOK, **asked})


def live_body(run_id: str, figures: Mapping[str, Any]) -> None:
    """Draw a run's progress, notes and tiles; they go on with the head."""
    _draw(f"body-{run_id}", run_id, {"show": "body", "figures": figures, "label": t("run.progress")})


def watch(run_id: str, name: str, marks: Mapping[str, Any], every_seconds: float = 2.0) -> None:
    """Have what stands around this drawn anew, the fragment or else the page, when the run's marks are no longer `marks`."""
    _draw(f"watch-{name}-{run_id}", run_id, {"marks": marks, "every_ms": every_seconds * 1000})


def watch_queue(marks: Mapping[str, Any], every_seconds: float = 2.0) -> None:
    """Have what stands around this drawn anew when the queue's marks are no longer `marks` (`services.queue.marks`)."""
    asked = {"address": "/live/queue", "active": True}
    _draw("watch-queue", "queue", {"marks": marks, "every_ms": every_seconds * 1000, **asked})


def _draw(key: str, run_id: str, data: dict[str, Any]) -> None:
    _component()(key=key, data={"run": run_id, "marks": {}, "every_ms": 0, **data})
