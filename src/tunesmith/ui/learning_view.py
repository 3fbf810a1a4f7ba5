"""“Is it learning?”: a policy's signs in plain words, and its figures. Knows the learning service."""

from __future__ import annotations

import streamlit as st

from tunesmith.services import learning
from tunesmith.services.learning import Sign
from tunesmith.services.runs import RunSnapshot
from tunesmith.ui.figures import show_bytes, show_duration, show_number
from tunesmith.ui.session import services, t

LOOKS = {"good": ("green", "check_circle"), "note": ("blue", "info"), "bad": ("red", "warning")}


def draw_signs(run_id: str, active: bool) -> None:
    """Draw what the curves say; of a run that ended too early, nothing."""
    found = learning.signs(services().series(run_id))
    if not active and found[0].code == "too_early":
        return
    with st.container(border=True):
        st.markdown(f"##### {t('learning.title')}")
        for sign in found:
            colour, icon = LOOKS[sign.mood]
            st.markdown(f":{colour}[:material/{icon}:] {_words(sign)}")


def _words(sign: Sign) -> str:
    shown = {
        name: f"{value:.0f}" if name in {"percent", "steps", "reports"} else show_number(value, 3) for name, value in sign.facts.items()
    }
    return t(f"sign.{sign.code}", **shown)


def draw_policy_figures(state: RunSnapshot) -> None:
    """Draw the tiles of a policy's run: rewards in place of losses."""
    figures, first = state.figures, state.first
    deviation = t("learning.deviation", value=show_number(figures.get("reward_std"), 2)) if "reward_std" in figures else None
    began = t("run.loss_first", loss=show_number(first.get("val_reward"), 3)) if "val_reward" in first else None
    pace = t("run.step_time", n=show_number(state.seconds_per_step, 2)) if state.seconds_per_step else None
    left = t("run.left", time=show_duration(state.eta_seconds)) if state.active and state.eta_seconds is not None else None
    tiles = (
        (t("learning.reward"), show_number(figures.get("reward"), 3), deviation),
        (t("learning.held_out"), show_number(figures.get("val_reward"), 3), began),
        (t("learning.alike"), _share(figures.get("zero_spread_share")), None),
        (t("run.elapsed"), show_duration(state.elapsed_seconds), left or pace),
        (t("run.memory"), show_bytes(state.peak_memory_bytes), None),
    )
    draw_tiles(tiles)


def draw_preference_figures(state: RunSnapshot) -> None:
    """Draw the tiles of a run on pairs."""
    figures = state.figures
    pace = t("run.step_time", n=show_number(state.seconds_per_step, 2)) if state.seconds_per_step else None
    left = t("run.left", time=show_duration(state.eta_seconds)) if state.active and state.eta_seconds is not None else None
    tiles = (
        (t("learning.accuracy"), _share(figures.get("reward_accuracy")), t("learning.pairs")),
        (t("learning.held_out_accuracy"), _share(figures.get("val_accuracy")), None),
        (t("learning.margin"), show_number(figures.get("reward_margin"), 3), None),
        (t("run.elapsed"), show_duration(state.elapsed_seconds), left or pace),
        (t("run.memory"), show_bytes(state.peak_memory_bytes), None),
    )
    draw_tiles(tiles)


def draw_tiles(tiles: tuple[tuple[str, str, str | None], ...]) -> None:
    """Draw figures side by side, each with a note below."""
    for place, (label, value, note) in zip(st.columns([1.4, 1, 1, 1, 1][: len(tiles)]), tiles, strict=True):
        place.metric(label, value, delta=note, delta_color="off", delta_arrow="off", border=True, height="stretch")


def _share(value: float | None) -> str:
    return t("common.none") if value is None else f"{value:.0%}"
